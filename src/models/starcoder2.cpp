// SPDX-License-Identifier: Apache-2.0
// StarCoder 2 (arXiv 2402.19173; HF transformers/models/starcoder2): LayerNorm and biases
// everywhere, grouped-query attention with RoPE and a window, an MLP without a gate.
#include "models/families.h"

namespace lanner {

DecoderSpec starcoder2(const ConfigReader& c) {
  const NormConfig norm{.name = "",
                        .kind = NormKind::kLayer,
                        .epsilon = c.optional_float("norm_epsilon", 1e-5f),
                        .has_weight = true,
                        .has_bias = true};
  DecoderSpec spec = read_llama_like(c, norm, /*tied_by_default=*/true);
  const bool bias = c.optional_bool("use_bias", true);
  const int window = c.optional_int("sliding_window", 0);
  for (BlockConfig& block : spec.blocks) {
    block.attention.qkv_bias = block.attention.output_bias = bias;
    block.attention.sliding_window = window;
    block.mlp.bias = bias;
    block.mlp.gated = false;
    block.mlp.up = "c_fc";
    block.mlp.down = "c_proj";
  }
  c.refuse_unless("mlp_type", "default");
  c.refuse_unless("norm_type", "layer_norm");
  return spec;
}

}  // namespace lanner
