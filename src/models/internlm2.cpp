// SPDX-License-Identifier: Apache-2.0
// InternLM 2 and 2.5 (arXiv 2403.17297): Llama under names of its own, with Q, K and V in one
// tensor, each KV head's query heads before its K and V.
#include "models/families.h"

namespace lanner {

DecoderSpec internlm2(const ConfigReader& c) {
  DecoderSpec spec = read_llama_like(c);
  const NormConfig norm = read_rms_norm(c);
  const bool bias = c.optional_bool("bias", false);
  for (BlockConfig& block : spec.blocks) {
    block.attention_norm = norm.named("attention_norm");
    block.attention_name = "attention";
    block.attention.qkv_bias = block.attention.output_bias = bias;
    block.attention.qkv_weights = QkvWeights::kGrouped;
    block.attention.qkv = "wqkv";
    block.attention.output = "wo";
    block.mlp_norm = norm.named("ffn_norm");
    block.mlp_name = "feed_forward";
    block.mlp.gate = "w1";
    block.mlp.up = "w3";
    block.mlp.down = "w2";
  }
  spec.input.tokens = "model.tok_embeddings";
  spec.output.name = "output";
  return spec;
}

}  // namespace lanner
