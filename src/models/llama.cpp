// SPDX-License-Identifier: Apache-2.0
// Llama 1, 2, 3 and 3.x (arXiv 2302.13971, 2307.09288, 2407.21783; HF transformers/models/llama),
// and what shares its architecture (SmolLM2, TinyLlama, Vicuna, Yi, …): pre-norm blocks of rotary
// attention and a gated MLP.
#include "models/families.h"

namespace lanner {

DecoderSpec llama(const ConfigReader& c) {
  DecoderSpec spec = read_llama_like(c);
  const bool attention_bias = c.optional_bool("attention_bias", false);
  const bool mlp_bias = c.optional_bool("mlp_bias", false);
  for (BlockConfig& block : spec.blocks) {
    block.attention.qkv_bias = block.attention.output_bias = attention_bias;
    block.mlp.bias = mlp_bias;
  }
  c.refuse_unless("rope_interleaved", false);  // in SmolLM2's files
  c.ignore("max_sequence_length");             // in Llama 1's: max_position_embeddings again
  return spec;
}

}  // namespace lanner
