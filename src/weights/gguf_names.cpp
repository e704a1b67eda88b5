// SPDX-License-Identifier: Apache-2.0
#include "weights/gguf_names.h"

#include "base/error.h"
#include "weights/mapped_file.h"

namespace lanner {
namespace {

using enum GgufTransform;

constexpr GgufNameRow kLlamaTensors[] = {
    {"token_embd.weight", "model.embed_tokens.weight"},
    {"output_norm.weight", "model.norm.weight"},
    {"output.weight", "lm_head.weight"},
    {"blk.#.attn_norm.weight", "model.layers.#.input_layernorm.weight"},
    {"blk.#.attn_q.weight", "model.layers.#.self_attn.q_proj.weight", kUnpermuteQ},
    {"blk.#.attn_k.weight", "model.layers.#.self_attn.k_proj.weight", kUnpermuteK},
    {"blk.#.attn_v.weight", "model.layers.#.self_attn.v_proj.weight"},
    {"blk.#.attn_output.weight", "model.layers.#.self_attn.o_proj.weight"},
    {"blk.#.attn_q.bias", "model.layers.#.self_attn.q_proj.bias", kUnpermuteQ},
    {"blk.#.attn_k.bias", "model.layers.#.self_attn.k_proj.bias", kUnpermuteK},
    {"blk.#.attn_v.bias", "model.layers.#.self_attn.v_proj.bias"},
    {"blk.#.attn_output.bias", "model.layers.#.self_attn.o_proj.bias"},
    {"blk.#.ffn_norm.weight", "model.layers.#.post_attention_layernorm.weight"},
    {"blk.#.ffn_gate.weight", "model.layers.#.mlp.gate_proj.weight"},
    {"blk.#.ffn_up.weight", "model.layers.#.mlp.up_proj.weight"},
    {"blk.#.ffn_down.weight", "model.layers.#.mlp.down_proj.weight"},
    {"blk.#.ffn_gate.bias", "model.layers.#.mlp.gate_proj.bias"},
    {"blk.#.ffn_up.bias", "model.layers.#.mlp.up_proj.bias"},
    {"blk.#.ffn_down.bias", "model.layers.#.mlp.down_proj.bias"},
    {"rope_freqs.weight", "", kNotAWeight},
    // The inverse frequencies themselves, in old files: what rope_theta says anyway.
    {"blk.#.attn_rot_embd", "", kNotAWeight},
    {"blk.#.attn_rot_embd.weight", "", kNotAWeight},
};

constexpr GgufConfigRow kDecoderConfig[] = {
    {"block_count", "num_hidden_layers", GgufConfigRow::kInt, true},
    {"context_length", "max_position_embeddings", GgufConfigRow::kInt, true},
    {"embedding_length", "hidden_size", GgufConfigRow::kInt, true},
    {"feed_forward_length", "intermediate_size", GgufConfigRow::kInt, true},
    {"attention.head_count", "num_attention_heads", GgufConfigRow::kInt, true},
    {"attention.head_count_kv", "num_key_value_heads", GgufConfigRow::kInt, false},
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps", GgufConfigRow::kDouble, true},
    {"rope.freq_base", "rope_theta", GgufConfigRow::kDouble, false},
};

constexpr GgufArchitecture kArchitectures[] = {
    {"llama", "llama", "silu", kLlamaTensors, kDecoderConfig},
};

// Fits the pattern to the name; the digits that stand for '#' go to `layer`.
bool fits(std::string_view pattern, std::string_view name, std::string_view& layer) {
  const size_t hash = pattern.find('#');
  if (hash == std::string_view::npos) return pattern == name;
  const std::string_view front = pattern.substr(0, hash);
  const std::string_view back = pattern.substr(hash + 1);
  if (name.size() <= front.size() + back.size() || !name.starts_with(front) ||
      !name.ends_with(back)) {
    return false;
  }
  layer = name.substr(front.size(), name.size() - front.size() - back.size());
  return layer.size() <= 6 && layer.find_first_not_of("0123456789") == std::string_view::npos &&
         (layer.size() == 1 || layer[0] != '0');
}

}  // namespace

std::span<const GgufArchitecture> gguf_architectures() { return kArchitectures; }

const GgufArchitecture& find_gguf_architecture(std::string_view name, const std::string& path) {
  std::string known;
  for (const GgufArchitecture& architecture : kArchitectures) {
    if (architecture.name == name) return architecture;
    if (!known.empty()) known += ", ";
    known += architecture.name;
  }
  throw_error(ErrorCode::kUnsupported, "{}: GGUF architecture {} is not supported; known: {}", path,
              quote_name(name), known);
}

std::optional<HfTensorName> hf_tensor_name(const GgufArchitecture& architecture,
                                           std::string_view gguf_name) {
  for (const GgufNameRow& row : architecture.tensors) {
    std::string_view layer;
    if (!fits(row.gguf, gguf_name, layer)) continue;
    std::string name(row.hf);
    if (const size_t hash = name.find('#'); hash != std::string::npos) name.replace(hash, 1, layer);
    return HfTensorName{std::move(name), row.transform};
  }
  return std::nullopt;
}

}  // namespace lanner
