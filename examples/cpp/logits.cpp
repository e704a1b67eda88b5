// SPDX-License-Identifier: Apache-2.0
// logits MODEL TOKEN...: the likeliest token after each token, without a tokenizer.
#include <algorithm>
#include <cstdlib>
#include <iostream>

#include "lanner/llm.h"

int main(int argc, char** argv) {
  if (argc < 3) {
    std::cerr << "usage: logits MODEL TOKEN...\n";
    return 2;
  }
  try {
    const auto llm = lanner::LLM::load(argv[1]);
    std::vector<int32_t> tokens;
    for (int i = 2; i < argc; ++i) tokens.push_back(std::atoi(argv[i]));

    // Positions come some at a time: the logits of a long prompt need never be in memory together.
    std::vector<float> logits;
    llm->logits(tokens, [&](int64_t /*first*/, std::span<const float> rows) {
      logits.insert(logits.end(), rows.begin(), rows.end());
    });
    const size_t vocab_size = logits.size() / tokens.size();
    for (size_t i = 0; i < tokens.size(); ++i) {
      const auto row = logits.begin() + static_cast<std::ptrdiff_t>(i * vocab_size);
      const auto best = std::max_element(row, row + static_cast<std::ptrdiff_t>(vocab_size));
      std::cout << tokens[i] << " -> " << best - row << "\n";
    }
  } catch (const lanner::Error& error) {
    std::cerr << lanner::error_code_name(error.code()) << ": " << error.what() << "\n";
    return 1;
  }
}
