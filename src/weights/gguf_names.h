// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "weights/gguf.h"

namespace lanner {

// What has to be done to a tensor of a GGUF file so that it is the one of the HF checkpoint.
enum class GgufTransform {
  kNone,
  // Rows of each head go from pairs (2i, 2i + 1 turn together) to halves (i, i + d/2): the llama
  // converter stores them permuted.
  kUnpermuteQ,
  kUnpermuteK,
  kSubtractOne,  // stored as what the norm multiplies by, weight + 1
  kRow,          // [n] of what the checkpoint has as [1, n]
  kGroupQkv,     // rows: all of Q, all of K, all of V -> for each KV head its queries, its K, its V
  // Not part of the HF checkpoint: goes into the config (factors of the rotary frequencies), or has
  // no effect.
  kNotAWeight,
};

// A tensor's name in GGUF and in the HF checkpoint. '#' stands for a layer number. '@' stands for
// an index into the outermost dimension: the tensors of all experts (or heads), which the
// checkpoint has one by one.
struct GgufNameRow {
  std::string_view gguf;
  std::string_view hf;
  GgufTransform transform = GgufTransform::kNone;
};

// A metadata key, without the "<architecture>." in front, and the key of config.json that it is.
struct GgufConfigRow {
  enum Kind {
    kInt,    // at least 1
    kCount,  // 0 is as good as no key
    kDouble,
    kBool,
  };
  std::string_view gguf;
  std::string_view hf;
  Kind kind;
  bool required;
};

// A key of config.json that says whether a tensor is there.
struct GgufFlagRow {
  std::string_view tensor;
  std::string_view hf;
};

// A key of a Llama's config.json and what the family calls it; empty: the family has no such key.
struct GgufRenameRow {
  std::string_view from;
  std::string_view to;
};

// A model architecture of GGUF: everything that Lanner must know to see it as an HF checkpoint.
// A further architecture is a further row of the table.
struct GgufArchitecture {
  std::string_view name;        // general.architecture
  std::string_view model_type;  // of config.json
  std::string_view hidden_act;  // GGUF does not say
  // Looked through in this order.
  std::array<std::span<const GgufNameRow>, 4> tensors;
  std::array<std::span<const GgufConfigRow>, 2> config;
  // The row is for files with this tensor only; empty: for all.
  std::string_view with_tensor = {};
  std::span<const GgufFlagRow> flags = {};
  // RoPE may turn a part of each head only.
  bool partial_rope = false;
  // Multi-head latent attention: the sizes of its heads are keys of their own.
  bool latent_attention = false;
  std::span<const GgufRenameRow> renames = {};
  // Further keys of config.json that GGUF does not have: JSON, or empty.
  std::string_view fixed = {};
};

std::span<const GgufArchitecture> gguf_architectures();
// The row for a file. Throws Error(kUnsupported) that starts with its path and lists the known
// ones.
const GgufArchitecture& find_gguf_architecture(const GgufFile& file);

struct HfTensorName {
  std::string name;  // empty if kNotAWeight
  GgufTransform transform;
};

// "blk.3.attn_norm.weight" -> "model.layers.3.input_layernorm.weight"; nothing if no row fits.
std::optional<HfTensorName> hf_tensor_name(const GgufArchitecture& architecture,
                                           std::string_view gguf_name);

struct GgufTensorName {
  std::string name;
  GgufTransform transform;
  int64_t index = -1;  // in the outermost dimension of the GGUF tensor; -1: it is all of it
};

// The other way round, for writing.
std::optional<GgufTensorName> gguf_tensor_name(const GgufArchitecture& architecture,
                                               std::string_view hf_name);

}  // namespace lanner
