// SPDX-License-Identifier: Apache-2.0
// Prints, for every golden folder and every type of weights, how far the model's distributions are
// from those with fp32 weights: the mean Kullback-Leibler divergence per position in nats, over all
// prompts, and the share of positions whose best token is the same.
//
//   weight_types [folder …]
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "base/json.h"
#include "engine/model_runner.h"

namespace lanner {
namespace {

constexpr const char* kTypes[] = {"bf16", "fp16", "int8", "w8a8", "int4"};

struct Folder {
  std::string name;
  ModelFiles files;
  std::vector<std::vector<int32_t>> prompts;
};

Folder open_folder(const std::string& name) {
  const std::string path = std::string(LANNER_GOLDEN_DIR) + "/" + name;
  Folder folder{name, open_model(path), {}};
  const Json golden = read_json_file(path + "/golden.json");
  for (const Json& prompt : golden.at("prompts")) {
    folder.prompts.push_back(prompt.at("ids").get<std::vector<int32_t>>());
  }
  return folder;
}

// The logits of every position of every prompt, one row each.
std::vector<std::vector<float>> all_logits(const Folder& folder, const std::string& dtype) {
  LlmConfig config;
  config.dtype = dtype;
  config.kv_dtype = "fp32";
  config.kv_cache_bytes = 8 << 20;
  ModelRunner runner(folder.files, config, {});
  std::vector<std::vector<float>> all;
  for (const std::vector<int32_t>& prompt : folder.prompts) {
    runner.logits(prompt, 0, [&](const Tensor& rows) {
      for (int64_t i = 0; i < rows.num_rows(); ++i) {
        all.emplace_back(rows.row<float>(i), rows.row<float>(i) + rows.size(-1));
      }
    });
  }
  return all;
}

std::vector<double> log_softmax(const std::vector<float>& logits) {
  const double best = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (float logit : logits) sum += std::exp(logit - best);
  std::vector<double> result;
  for (float logit : logits) result.push_back(logit - best - std::log(sum));
  return result;
}

// The mean over positions of KL(p || q).
double mean_divergence(const std::vector<std::vector<float>>& p,
                       const std::vector<std::vector<float>>& q) {
  double sum = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    const std::vector<double> log_p = log_softmax(p[i]), log_q = log_softmax(q[i]);
    for (size_t t = 0; t < log_p.size(); ++t) sum += std::exp(log_p[t]) * (log_p[t] - log_q[t]);
  }
  return sum / static_cast<double>(p.size());
}

double agreement(const std::vector<std::vector<float>>& p,
                 const std::vector<std::vector<float>>& q) {
  size_t same = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    same += std::max_element(p[i].begin(), p[i].end()) - p[i].begin() ==
            std::max_element(q[i].begin(), q[i].end()) - q[i].begin();
  }
  return static_cast<double>(same) / static_cast<double>(p.size());
}

std::vector<std::string> folder_names(int argc, char** argv) {
  std::vector<std::string> names(argv + 1, argv + argc);
  if (!names.empty()) return names;
  for (const auto& entry : std::filesystem::directory_iterator(LANNER_GOLDEN_DIR)) {
    if (std::filesystem::exists(entry.path() / "golden.json")) {
      names.push_back(entry.path().filename().string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

int run(int argc, char** argv) {
  fmt::print("{:<20}", "KL (nats) | same");
  for (const char* type : kTypes) fmt::print("  {:>9} | same", type);
  fmt::print("\n");
  for (const std::string& name : folder_names(argc, argv)) {
    const Folder folder = open_folder(name);
    const auto exact = all_logits(folder, "fp32");
    fmt::print("{:<20}", name);
    for (const char* type : kTypes) {
      const auto actual = all_logits(folder, type);
      fmt::print("  {:>9.2e} | {:>3.0f}%", mean_divergence(exact, actual),
                 100 * agreement(exact, actual));
    }
    fmt::print("\n");
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace lanner

int main(int argc, char** argv) {
  try {
    return lanner::run(argc, argv);
  } catch (const std::exception& e) {
    fmt::print(stderr, "weight_types: {}\n", e.what());
    return 1;
  }
}
