// SPDX-License-Identifier: Apache-2.0
// For tests only: LoRA adapters in PEFT's format for the tiny checkpoints, and the same checkpoints
// with the changes added to their weights by hand.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/testing/random.h"
#include "engine/testing/tiny_model.h"
#include "kernels/convert/convert.h"
#include "weights/model_files.h"
#include "weights/safetensors.h"

namespace lanner {

struct Matrix {
  std::string name;
  Shape shape;
  std::vector<float> values;
};

inline void write_matrices(const std::string& path, const std::vector<Matrix>& tensors) {
  std::vector<SafetensorsWriter::Entry> entries;
  for (const Matrix& m : tensors) entries.push_back({m.name, DType::kF32, m.shape});
  SafetensorsWriter writer(path, entries);
  for (const Matrix& m : tensors) {
    writer.append(Tensor(const_cast<float*>(m.values.data()), DType::kF32, m.shape));
  }
  writer.finish();
}

// All tensors of a model in fp32.
inline std::vector<Matrix> read_matrices(const std::string& folder) {
  const ModelFiles files = open_model(folder);
  std::vector<Matrix> tensors;
  for (const std::string& name : files.checkpoint->names()) {
    const CheckpointTensor tensor = files.checkpoint->get(name);
    const Tensor& view = tensor.view;
    Matrix m{name, view.shape(), std::vector<float>(static_cast<size_t>(view.numel()))};
    select_convert(view.dtype(), DType::kF32)(view.raw(), view.numel(), m.values.data());
    tensors.push_back(std::move(m));
  }
  return tensors;
}

inline Json lora_config(int64_t rank) {
  return {{"peft_type", "LORA"},
          {"r", rank},
          {"lora_alpha", 2 * rank},
          {"use_rslora", false},
          {"bias", "none"},
          {"target_modules", {"q_proj", "down_proj"}},
          {"lora_dropout", 0.1},
          {"use_dora", false},
          {"fan_in_fan_out", false},
          {"modules_to_save", nullptr},
          {"rank_pattern", Json::object()},
          {"alpha_pattern", Json::object()},
          {"task_type", "CAUSAL_LM"}};
}

// What an adapter changes: every matrix whose name ends with one of these parts.
struct LoraCase {
  std::string golden;
  std::vector<std::string> matrices;
  int64_t rank = 4;
  Json config = Json::object();  // keys of adapter_config.json to change
  std::string prefix = {};       // of the names, which the checkpoint lacks
  // alpha / r; of matrices that end with the second one's name its own.
  float scale = 2.0f;
  std::pair<std::string, float> own_scale = {};
};

// Writes an adapter of random numbers, and adds what it changes to `model` in double.
inline void write_lora(const std::string& folder, const LoraCase& c, uint32_t seed,
                       std::vector<Matrix>& model) {
  std::filesystem::create_directories(folder);
  Json config = lora_config(c.rank);
  config.update(c.config);
  std::ofstream(folder + "/adapter_config.json") << config.dump();
  const bool is_transposed = config.value("fan_in_fan_out", false);
  const int64_t rank = c.rank;
  std::vector<Matrix> tensors;
  for (Matrix& w : model) {
    const auto ends_so = [&](const std::string& end) {
      return !end.empty() && ("." + w.name).ends_with("." + end + ".weight");
    };
    if (std::ranges::none_of(c.matrices, ends_so)) continue;
    const int64_t rows = w.shape.size(0), columns = w.shape.size(1);
    const int64_t n = is_transposed ? columns : rows, k = is_transposed ? rows : columns;
    const std::string module = "base_model.model." + c.prefix + w.name.substr(0, w.name.rfind('.'));
    Matrix a{module + ".lora_A.weight", Shape{rank, k}, random_normal(rank * k, seed++, 0.1f)};
    Matrix b{module + ".lora_B.weight", Shape{n, rank}, random_normal(n * rank, seed++, 0.1f)};
    const float scale = ends_so(c.own_scale.first) ? c.own_scale.second : c.scale;
    for (int64_t out = 0; out < n; ++out) {
      for (int64_t in = 0; in < k; ++in) {
        double change = 0;
        for (int64_t r = 0; r < rank; ++r) {
          change += double{b.values[static_cast<size_t>(out * rank + r)]} *
                    double{a.values[static_cast<size_t>(r * k + in)]};
        }
        const int64_t at = is_transposed ? in * n + out : out * k + in;
        w.values[static_cast<size_t>(at)] += static_cast<float>(scale * change);
      }
    }
    tensors.push_back(std::move(a));
    tensors.push_back(std::move(b));
  }
  write_matrices(folder + "/adapter_model.safetensors", tensors);
}

// The golden model with other weights.
inline void write_model(const std::string& folder, const std::string& golden,
                        const std::vector<Matrix>& tensors) {
  std::filesystem::create_directories(folder);
  std::filesystem::copy_file(golden_folder(golden) + "/config.json", folder + "/config.json");
  std::ofstream(folder + "/tokenizer.json") << tiny_tokenizer_json();
  write_matrices(folder + "/model.safetensors", tensors);
}

}  // namespace lanner
