// SPDX-License-Identifier: Apache-2.0
// Arcee AFM (HF transformers/models/arcee): Llama with a squared ReLU in place of the gate, and
// YaRN.
#include "models/families.h"

namespace lanner {

DecoderSpec arcee(const ConfigReader& c) {
  DecoderSpec spec = read_llama_like(c);
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
