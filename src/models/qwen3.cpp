// SPDX-License-Identifier: Apache-2.0
// Qwen 3, dense (arXiv 2505.09388; HF transformers/models/qwen3): Llama with an RMSNorm on each
// head of Q and K before RoPE and a head size of its own.
#include "models/families.h"

namespace lanner {

DecoderSpec qwen3(const ConfigReader& c) {
  DecoderSpec spec = read_llama_like(c);
  c.required_int("head_dim");
  const bool bias = c.optional_bool("attention_bias", false);
  for (BlockConfig& block : spec.blocks) {
    block.attention.q_norm = read_rms_norm(c).named("q_norm");
    block.attention.k_norm = read_rms_norm(c).named("k_norm");
    block.attention.qkv_bias = block.attention.output_bias = bias;
  }
  read_qwen_window(c, spec);
  return spec;
}

}  // namespace lanner
