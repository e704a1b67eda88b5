// SPDX-License-Identifier: Apache-2.0
// Prints, for every golden folder and every type of weights, how far the model's distributions are
// from those with fp32 weights: the mean Kullback-Leibler divergence per position in nats, over all
// prompts, and the share of positions whose best token is the same. The last column is the floor of
// int4: the same rounded weights as fp32 numbers, multiplied in fp32. What is above it comes of the
// int4 kernels, which round activations to eight bits.
//
//   weight_types [folder …]
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "base/buffer.h"
#include "base/json.h"
#include "base/thread_pool.h"
#include "engine/model_runner.h"
#include "kernels/convert/convert.h"
#include "kernels/gemm/stored_weight.h"
#include "layers/transpose.h"

namespace lanner {
namespace {

constexpr const char* kTypes[] = {"bf16", "fp16", "int8", "w8a8", "int4"};

struct Folder {
  std::string name;
  ModelFiles files;
  std::vector<std::vector<int32_t>> prompts;
};

CheckpointTensor in_fp32(const CheckpointTensor& x) {
  auto memory = std::make_shared<Buffer>(static_cast<size_t>(x.view.numel()) * sizeof(float));
  auto* out = memory->as<float>();
  const ConvertRowFn convert = select_convert(x.view.dtype(), DType::kF32);
  for (int64_t i = 0; i < x.view.num_rows(); ++i) {
    convert(x.view.raw_row(i), x.view.size(-1), out + i * x.view.size(-1));
  }
  return {Tensor(out, DType::kF32, x.view.shape()), memory};
}

// x [n, k], which is changed, rounded to int4 along its rows; a last group that is not whole ends
// in zeros, as in a packed matrix.
void round_to_int4(const Tensor& x, ThreadPool& threads) {
  constexpr int64_t kGroup = 32;
  const int64_t n = x.num_rows(), k = x.size(-1);
  const int64_t padded = (k + kGroup - 1) / kGroup * kGroup;
  std::vector<float> values(static_cast<size_t>(n * padded));
  for (int64_t i = 0; i < n; ++i) std::copy_n(x.row<float>(i), k, values.data() + i * padded);
  std::vector<std::byte> rows(static_cast<size_t>(n * *stored_row_bytes(DType::kI4, padded)));
  const Tensor all(values.data(), DType::kF32, Shape{n, padded});
  quantize_rows(all, DType::kI4, rows.data(), threads);
  const Tensor stored = stored_tensor(rows.data(), DType::kI4, n, padded);
  const ConvertRowFn widen = select_convert(stored.dtype(), DType::kF32);
  for (int64_t i = 0; i < n; ++i) {
    widen(stored.raw_row(i), padded, all.row<float>(i));
    std::copy_n(all.row<float>(i), k, x.row<float>(i));
  }
}

bool contains_word(std::string_view name, std::string_view word) {
  return name.find(word) != std::string_view::npos;
}

// Another checkpoint's tensors in fp32, its weight matrices rounded to int4: not the tables of
// token vectors and positions (nor one that is the output weights too), and no routers.
class RoundedCheckpoint : public Checkpoint {
 public:
  RoundedCheckpoint(std::unique_ptr<Checkpoint> inner, std::string model_type)
      : inner_(std::move(inner)), model_type_(std::move(model_type)) {}
  std::vector<std::string> names() const override { return inner_->names(); }
  bool contains(std::string_view name) const override { return inner_->contains(name); }
  TensorInfo info(std::string_view name) const override { return inner_->info(name); }
  CheckpointTensor get(std::string_view name) const override {
    const CheckpointTensor x = in_fp32(inner_->get(name));
    if (!is_packed(name, x.view)) return x;
    const Shape matrix{x.view.size(-2), x.view.size(-1)};
    for (int64_t at = 0; at < x.view.numel(); at += matrix.numel()) {
      const Tensor one(x.view.data<float>() + at, DType::kF32, matrix);
      if (!is_transposed(name, x.view)) {
        round_to_int4(one, threads_);
        continue;
      }
      std::vector<float> memory(static_cast<size_t>(matrix.numel()));
      const Tensor turned(memory.data(), DType::kF32, Shape{one.size(1), one.size(0)});
      transpose(one, turned.raw(), std::string(name));
      round_to_int4(turned, threads_);
      transpose(turned, one.raw(), std::string(name));
    }
    return x;
  }
  const std::string& path() const override { return inner_->path(); }

 private:
  bool is_packed(std::string_view name, const Tensor& x) const {
    const bool is_table = (contains_word(name, "embed") && !contains_word(name, "embed_out")) ||
                          contains_word(name, "wte") || contains_word(name, "wpe");
    const bool is_router = name.ends_with(".gate.weight") || name.ends_with("expert_gate.weight") ||
                           contains_word(name, "router");
    const bool is_vector =
        x.shape().rank() < 2 || contains_word(name, "norm") || name.ends_with("bias");
    return !is_vector && !is_router && !is_table;
  }
  // Stored as [in, out].
  bool is_transposed(std::string_view name, const Tensor& x) const {
    return (model_type_ == "gpt2" && contains_word(name, ".c_")) ||
           (model_type_ == "gpt_oss" && x.shape().rank() == 3);
  }

  std::unique_ptr<Checkpoint> inner_;
  std::string model_type_;
  mutable ThreadPool threads_{1};
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
  fmt::print("  {:>9} | same\n", "int4 floor");
  for (const std::string& name : folder_names(argc, argv)) {
    const Folder folder = open_folder(name);
    const auto exact = all_logits(folder, "fp32");
    fmt::print("{:<20}", name);
    for (const char* type : kTypes) {
      const auto actual = all_logits(folder, type);
      fmt::print("  {:>9.2e} | {:>3.0f}%", mean_divergence(exact, actual),
                 100 * agreement(exact, actual));
    }
    Folder rounded = open_folder(name);
    rounded.files.checkpoint = std::make_unique<RoundedCheckpoint>(
        std::move(rounded.files.checkpoint),
        rounded.files.config.json().at("model_type").get<std::string>());
    const auto floor = all_logits(rounded, "fp32");
    fmt::print("  {:>9.2e} | {:>3.0f}%\n", mean_divergence(exact, floor),
               100 * agreement(exact, floor));
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
