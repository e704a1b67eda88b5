// SPDX-License-Identifier: Apache-2.0
// GPT-NeoX and Pythia (arXiv 2204.06745; HF transformers/models/gpt_neox): LayerNorm, partial RoPE,
// a QKV matrix grouped by head, attention and MLP in parallel.
#include <algorithm>

#include "models/families.h"

namespace lanner {

DecoderSpec gpt_neox(const ConfigReader& c) {
  DecoderSpec spec = read_decoder(c);
  const bool bias = c.optional_bool("attention_bias", true);
  const NormConfig norm = layer_norm(c.optional_float("layer_norm_eps", 1e-5f));
  BlockConfig block;
  block.residual =
      c.optional_bool("use_parallel_residual", true) ? Residual::kParallel : Residual::kSerial;
  block.attention_norm = norm.named("input_layernorm");
  block.attention_name = "attention";
  AttentionConfig& attention = block.attention;
  attention = read_heads(c, spec.hidden_size);
  // transformers 5 has the usual names of the two.
  attention.rope =
      RopeConfig(c, attention.head_dim,
                 {.theta = c.optional_double("rotary_emb_base", 10000.0),
                  .partial_rotary_factor = c.optional_double("rotary_pct", 0.25, {.max = 1.0})});
  attention.qkv_bias = attention.output_bias = bias;
  attention.qkv_weights = QkvWeights::kGrouped;
  attention.qkv = "query_key_value";
  attention.output = "dense";
  block.mlp_norm = norm.named("post_attention_layernorm");
  block.mlp = {.hidden = spec.hidden_size,
               .intermediate = c.required_int("intermediate_size"),
               .activation = read_activation(c, "hidden_act"),
               .gated = false,
               .bias = true,
               .up = "dense_h_to_4h",
               .down = "dense_4h_to_h"};
  std::ranges::fill(spec.blocks, block);
  spec.input.tokens = "gpt_neox.embed_in";
  spec.layers = "gpt_neox.layers";
  spec.final_norm = norm.named("gpt_neox.final_layer_norm");
  spec.output.name = "embed_out";
  return spec;
}

}  // namespace lanner
