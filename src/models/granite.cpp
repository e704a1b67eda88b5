// SPDX-License-Identifier: Apache-2.0
// Granite 3 (HF transformers/models/granite): Llama with a multiplier on embeddings, scores, block
// outputs and logits (after muP, arXiv 2203.03466). Granite MoE (transformers/models/granitemoe)
// has a mixture of experts in every block.
#include "models/families.h"
#include "models/read_moe.h"

namespace lanner {
namespace {

DecoderSpec read_granite(const ConfigReader& c) {
  DecoderSpec spec = read_llama_like(c);
  spec.input.scale = c.optional_float("embedding_multiplier", 1.0f);
  spec.output.scale = 1.0f / c.optional_float("logits_scaling", 1.0f);
  const float score_scale = c.optional_float("attention_multiplier", 1.0f);
  const float residual_scale = c.optional_float("residual_multiplier", 1.0f);
  const bool bias = c.optional_bool("attention_bias", false);
  for (BlockConfig& block : spec.blocks) {
    block.attention.scale = score_scale;
    block.attention.qkv_bias = block.attention.output_bias = bias;
    block.output_scale = residual_scale;
  }
  c.refuse_unless("position_embedding_type", "rope");
  return spec;
}

}  // namespace

DecoderSpec granite(const ConfigReader& c) {
  DecoderSpec spec = read_granite(c);
  const bool mlp_bias = c.optional_bool("mlp_bias", false);
  for (BlockConfig& block : spec.blocks) block.mlp.bias = mlp_bias;
  return spec;
}

DecoderSpec granitemoe(const ConfigReader& c) {
  DecoderSpec spec = read_granite(c);
  MoeConfig moe = read_experts(c, spec.hidden_size, "num_local_experts", "intermediate_size");
  moe.router.score = RouterScore::kSoftmaxOfChosen;
  moe.router_name = "router.layer";
  moe.all_gate_up = "input_linear.weight";
  moe.all_down = "output_linear.weight";
  for (BlockConfig& block : spec.blocks) {
    block.mlp_name = "block_sparse_moe";
    block.moe = moe;
  }
  return spec;
}

}  // namespace lanner
