// SPDX-License-Identifier: Apache-2.0
// GLM-4 and GLM-Edge in the format of transformers (arXiv 2406.12793; HF transformers/models/glm):
// Llama with RoPE in pairs over half of each head and a fused gate-up matrix.
#include "models/families.h"

namespace lanner {

DecoderSpec glm(const ConfigReader& c) {
  DecoderSpec spec = read_llama_like(c, /*tied_by_default=*/false,
                                     {.style = RopeStyle::kPairs, .partial_rotary_factor = 0.5});
  c.required_int("head_dim");
  const bool bias = c.optional_bool("attention_bias", false);
  for (BlockConfig& block : spec.blocks) {
    block.attention.qkv_bias = bias;
    block.mlp.gate_up = "gate_up_proj";
  }
  return spec;
}

}  // namespace lanner
