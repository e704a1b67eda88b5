// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lanner {

// One prompt of a golden folder (tests/golden/README.md): what the reference computes for it in
// fp32.
struct GoldenPrompt {
  std::string name;
  std::vector<int32_t> ids;
  bool has_all_positions = false;  // logits of every position, or of the last one only
  std::vector<float> logits;       // [positions, vocab_size]
  double logits_max_abs = 0;
  double logprob_sum = 0;
  int logprob_count = 0;
  int logprob_from = 0;
  std::vector<int32_t> greedy;
  std::vector<double> greedy_margins;
};

struct GoldenCase {
  std::string family;
  std::string folder;
  int64_t vocab_size = 0;
  std::vector<GoldenPrompt> prompts;
};

// The names of all golden folders.
std::vector<std::string> golden_families();
GoldenCase load_golden_case(const std::string& family);

}  // namespace lanner
