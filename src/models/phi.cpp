// SPDX-License-Identifier: Apache-2.0
// Phi-1, 1.5 and 2 (arXiv 2306.11644, 2309.05463; HF transformers/models/phi): attention and MLP in
// parallel on one LayerNorm, partial RoPE, biases everywhere.
#include <algorithm>

#include "models/families.h"

namespace lanner {

DecoderSpec phi(const ConfigReader& c) {
  DecoderSpec spec = read_decoder(c);
  const NormConfig norm = layer_norm(c.optional_float("layer_norm_eps", 1e-5f));
  BlockConfig block;
  block.residual = Residual::kParallel;
  block.attention_norm = norm.named("input_layernorm");
  AttentionConfig& attention = block.attention;
  attention = read_heads(c, spec.hidden_size);
  attention.rope = RopeConfig(c, attention.head_dim, {.partial_rotary_factor = 0.5});
  attention.qkv_bias = attention.output_bias = true;
  attention.output = "dense";
  if (c.optional_bool("qk_layernorm", false)) {
    attention.q_norm = norm.named("q_layernorm");
    attention.k_norm = norm.named("k_layernorm");
  }
  block.mlp = {.hidden = spec.hidden_size,
               .intermediate = c.required_int("intermediate_size"),
               .activation = read_activation(c, "hidden_act"),
               .gated = false,
               .bias = true,
               .up = "fc1",
               .down = "fc2"};
  std::ranges::fill(spec.blocks, block);
  spec.final_norm = norm.named("model.final_layernorm");
  spec.output.bias = true;
  return spec;
}

}  // namespace lanner
