// SPDX-License-Identifier: Apache-2.0
#include "golden_case.h"

#include <algorithm>
#include <filesystem>

#include "base/json.h"
#include "weights/safetensors.h"

namespace lanner {

std::vector<std::string> golden_families() {
  std::vector<std::string> families;
  for (const auto& entry : std::filesystem::directory_iterator(LANNER_GOLDEN_DIR)) {
    if (std::filesystem::exists(entry.path() / "golden.json")) {
      families.push_back(entry.path().filename().string());
    }
  }
  std::sort(families.begin(), families.end());
  return families;
}

GoldenCase load_golden_case(const std::string& family) {
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

}  // namespace lanner
