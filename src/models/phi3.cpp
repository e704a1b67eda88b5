// SPDX-License-Identifier: Apache-2.0
// Phi-3, Phi-3.5 and Phi-4-mini (arXiv 2404.14219; HF transformers/models/phi3): Llama with fused
// QKV and gate-up matrices, a sliding window, and LongRoPE for the long variants.
#include "models/families.h"

namespace lanner {

DecoderSpec phi3(const ConfigReader& c) {
  DecoderSpec spec = read_llama_like(c);
  const int window = c.optional_int("sliding_window", 0);
  for (BlockConfig& block : spec.blocks) {
    block.attention.qkv_weights = QkvWeights::kStacked;
    block.attention.sliding_window = window;
    block.mlp.gate_up = "gate_up_proj";
  }
  // In Phi-4-mini's files.
  for (const char* key : {"attention_bias", "mlp_bias", "lm_head_bias"})
    c.refuse_unless(key, false);
  for (const char* key : {"full_attn_mod", "interpolate_factor"}) c.refuse_unless(key, 1);
  return spec;
}

}  // namespace lanner
