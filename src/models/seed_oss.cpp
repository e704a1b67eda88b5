// SPDX-License-Identifier: Apache-2.0
// Seed-OSS (HF transformers/models/seed_oss): Llama with biases on Q, K and V, and a head size of
// its own.
#include "models/families.h"

namespace lanner {

DecoderSpec seed_oss(const ConfigReader& c) {
  DecoderSpec spec = read_llama_like(c);
  const bool qkv_bias = c.optional_bool("attention_bias", true);
  const bool output_bias = c.optional_bool("attention_out_bias", false);
  const bool mlp_bias = c.optional_bool("mlp_bias", false);
  for (BlockConfig& block : spec.blocks) {
    block.attention.qkv_bias = qkv_bias;
    block.attention.output_bias = output_bias;
    block.mlp.bias = mlp_bias;
  }
  return spec;
}

}  // namespace lanner
