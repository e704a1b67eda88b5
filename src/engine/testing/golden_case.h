// SPDX-License-Identifier: Apache-2.0
// For tests only: what the reference implementation computed for a folder of tests/golden.
#pragma once

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "base/json.h"
#include "engine/model_runner.h"
#include "weights/safetensors.h"

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
inline std::vector<std::string> golden_families() {
  std::vector<std::string> families;
  for (const auto& entry : std::filesystem::directory_iterator(LANNER_GOLDEN_DIR)) {
    if (std::filesystem::exists(entry.path() / "golden.json")) {
      families.push_back(entry.path().filename().string());
    }
  }
  std::sort(families.begin(), families.end());
  return families;
}

inline GoldenCase load_golden_case(const std::string& family) {
  GoldenCase golden;
  golden.family = family;
  golden.folder = std::string(LANNER_GOLDEN_DIR) + "/" + family;
  const Json json = read_json_file(golden.folder + "/golden.json");
  const auto arrays = open_safetensors_file(golden.folder + "/golden.safetensors");
  for (const Json& p : json.at("prompts")) {
    GoldenPrompt prompt;
    prompt.name = p.at("name");
    prompt.ids = p.at("ids").get<std::vector<int32_t>>();
    prompt.has_all_positions = p.at("logits") == "full";
    prompt.logits_max_abs = p.at("logits_max_abs");
    prompt.logprob_sum = p.at("logprob_sum");
    prompt.logprob_count = p.at("logprob_count");
    prompt.logprob_from = p.at("logprob_from");
    prompt.greedy = p.at("greedy").get<std::vector<int32_t>>();
    prompt.greedy_margins = p.at("greedy_margins").get<std::vector<double>>();
    const CheckpointTensor logits = arrays->get(prompt.name + ".logits");
    const float* values = logits.view.data<float>();
    prompt.logits.assign(values, values + logits.view.numel());
    golden.vocab_size = logits.view.size(-1);
    golden.prompts.push_back(std::move(prompt));
  }
  return golden;
}

using Logits = std::vector<float>;  // [num_tokens, vocab_size]

inline Logits compute_logits(ModelRunner& runner, const std::vector<int32_t>& ids,
                             int chunk_tokens = 0) {
  Logits all;
  runner.logits(ids, chunk_tokens, [&](const Tensor& rows) {
    for (int64_t i = 0; i < rows.num_rows(); ++i) {
      all.insert(all.end(), rows.row<float>(i), rows.row<float>(i) + rows.size(-1));
    }
  });
  return all;
}

inline double max_difference(const float* a, const float* b, size_t count) {
  double worst = 0;
  for (size_t i = 0; i < count; ++i) {
    const double difference = std::abs(static_cast<double>(a[i]) - b[i]);
    if (!(difference <= worst)) worst = difference;  // NaN sticks
  }
  return worst;
}

}  // namespace lanner
