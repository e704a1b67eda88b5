// SPDX-License-Identifier: Apache-2.0
// chat MODEL QUESTION: prints an answer as it is made.
#include <future>
#include <iostream>

#include "lanner/llm.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: chat MODEL QUESTION\n";
    return 2;
  }
  try {
    const auto llm = lanner::LLM::load(argv[1]);
    lanner::ChatRequest chat;
    chat.messages = {{.role = "system", .content = "Answer in one short sentence."},
                     {.role = "user", .content = argv[2]}};
    chat.sampling.max_tokens = 40;

    // The callback comes from the engine's thread.
    std::promise<void> done;
    llm->submit_chat(chat, [&](const lanner::ChatOutput& output) {
      std::cout << output.content << std::flush;
      if (output.step.is_last) done.set_value();
    });
    done.get_future().get();
    std::cout << "\n";
  } catch (const lanner::Error& error) {
    std::cerr << lanner::error_code_name(error.code()) << ": " << error.what() << "\n";
    return 1;
  }
}
