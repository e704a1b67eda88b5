// SPDX-License-Identifier: Apache-2.0
// Nemotron 4 and Minitron (arXiv 2402.16819; HF transformers/models/nemotron): LayerNorm whose file
// holds weight - 1, partial RoPE, an MLP of squared ReLUs without a gate.
#include "models/families.h"

namespace lanner {

DecoderSpec nemotron(const ConfigReader& c) {
  const NormConfig norm{.name = "",
                        .kind = NormKind::kLayer,
                        .epsilon = c.optional_float("norm_eps", 1e-5f),
                        .has_weight = true,
                        .has_bias = true,
                        .weight_offset = 1.0f};
  DecoderSpec spec = read_llama_like(c, norm);
  const bool bias = c.optional_bool("attention_bias", false);
  const bool mlp_bias = c.optional_bool("mlp_bias", false);
  for (BlockConfig& block : spec.blocks) {
    block.attention.qkv_bias = block.attention.output_bias = bias;
    block.mlp.gated = false;
    block.mlp.bias = mlp_bias;
  }
  return spec;
}

}  // namespace lanner
