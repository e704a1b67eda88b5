// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace lanner {

// What has to be done to a tensor of a GGUF file so that it is the one of the HF checkpoint.
enum class GgufTransform {
  kNone,
  // Rows of each head go from pairs (2i, 2i + 1 turn together) to halves (i, i + d/2): the llama
  // converter stores them permuted.
  kUnpermuteQ,
  kUnpermuteK,
  // Not part of the HF checkpoint: goes into the config (factors of the rotary frequencies), or has
  // no effect.
  kNotAWeight,
};

// A tensor's name in GGUF and in the HF checkpoint. '#' stands for a layer number.
struct GgufNameRow {
  std::string_view gguf;
  std::string_view hf;
  GgufTransform transform = GgufTransform::kNone;
};

// A metadata key, without the "<architecture>." in front, and the key of config.json that it is.
struct GgufConfigRow {
  enum Kind { kInt, kDouble };
  std::string_view gguf;
  std::string_view hf;
  Kind kind;
  bool required;
};

// A model architecture of GGUF: everything that Lanner must know to see it as an HF checkpoint.
// A further architecture is a further row of the table.
struct GgufArchitecture {
  std::string_view name;        // general.architecture
  std::string_view model_type;  // of config.json
  std::string_view hidden_act;  // GGUF does not say
  std::span<const GgufNameRow> tensors;
  std::span<const GgufConfigRow> config;
};

std::span<const GgufArchitecture> gguf_architectures();
// Throws Error(kUnsupported) that starts with `path` and lists the known ones.
const GgufArchitecture& find_gguf_architecture(std::string_view name, const std::string& path);

struct HfTensorName {
  std::string name;  // empty if kNotAWeight
  GgufTransform transform;
};

// "blk.3.attn_norm.weight" -> "model.layers.3.input_layernorm.weight"; nothing if no row fits.
std::optional<HfTensorName> hf_tensor_name(const GgufArchitecture& architecture,
                                           std::string_view gguf_name);

}  // namespace lanner
