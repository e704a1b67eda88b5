// SPDX-License-Identifier: Apache-2.0
// generate MODEL PROMPT...: continues several prompts together, with the weights as int8.
#include <iostream>

#include "lanner/llm.h"

int main(int argc, char** argv) {
  if (argc < 3) {
    std::cerr << "usage: generate MODEL PROMPT...\n";
    return 2;
  }
  try {
    lanner::LlmConfig config;
    config.dtype = "int8";
    const auto llm = lanner::LLM::load(argv[1], config);

    lanner::SamplingParams sampling = llm->default_sampling_params();
    sampling.max_tokens = 24;
    std::vector<lanner::Request> requests;
    for (int i = 2; i < argc; ++i) requests.push_back({.prompt = argv[i], .sampling = sampling});

    for (const lanner::Completion& completion : llm->generate(requests)) {
      std::cout << completion.text << "\n(" << completion.token_ids.size() << " tokens, "
                << lanner::finish_reason_name(completion.finish_reason) << ")\n";
    }
  } catch (const lanner::Error& error) {
    std::cerr << lanner::error_code_name(error.code()) << ": " << error.what() << "\n";
    return 1;
  }
}
