// SPDX-License-Identifier: Apache-2.0
// OLMo (arXiv 2402.00838; HF transformers/models/olmo): LayerNorm without parameters, and in some
// sizes Q, K and V kept within a limit.
// OLMo 2 (arXiv 2501.00656; transformers/models/olmo2): norms after attention and MLP instead of
// before, and on all heads of Q and of K together.
// OLMoE (arXiv 2409.02060; transformers/models/olmoe): Llama's blocks with those norms on Q and K
// and a mixture of experts.
#include "models/families.h"
#include "models/read_moe.h"

namespace lanner {
namespace {

void add_qk_norm(const NormConfig& norm, AttentionConfig& attention) {
  attention.q_norm = norm.named("q_norm");
  attention.k_norm = norm.named("k_norm");
  attention.qk_norm_span = HeadNormSpan::kAllHeads;
}

}  // namespace

DecoderSpec olmo(const ConfigReader& c) {
  const NormConfig norm{
      .name = "", .kind = NormKind::kLayer, .epsilon = 1e-5f, .has_weight = false};
  DecoderSpec spec = read_llama_like(c, norm);
  const bool bias = c.optional_bool("attention_bias", false);
  const float clip = c.optional_float("clip_qkv", 0.0f);
  c.refuse_unless("layer_norm_eps", 1e-5);  // in GGUF files
  for (BlockConfig& block : spec.blocks) {
    block.attention.qkv_bias = block.attention.output_bias = bias;
    block.attention.clip_qkv = clip;
  }
  return spec;
}

DecoderSpec olmo2(const ConfigReader& c) {
  DecoderSpec spec = read_llama_like(c);
  const NormConfig norm = read_rms_norm(c);
  const bool bias = c.optional_bool("attention_bias", false);
  for (BlockConfig& block : spec.blocks) {
    block.attention.qkv_bias = block.attention.output_bias = bias;
    block.attention_norm = block.mlp_norm = std::nullopt;
    block.attention_output_norm = norm.named("post_attention_layernorm");
    block.mlp_output_norm = norm.named("post_feedforward_layernorm");
    add_qk_norm(norm, block.attention);
  }
  return spec;
}

DecoderSpec olmoe(const ConfigReader& c) {
  DecoderSpec spec = read_llama_like(c);
  const NormConfig norm = read_rms_norm(c);
  MoeConfig moe = read_experts(c, spec.hidden_size, "num_experts", "intermediate_size");
  moe.router.normalize = c.optional_bool("norm_topk_prob", false);
  const bool bias = c.optional_bool("attention_bias", false);
  const float clip = c.optional_float("clip_qkv", 0.0f);
  for (BlockConfig& block : spec.blocks) {
    block.attention.qkv_bias = block.attention.output_bias = bias;
    block.attention.clip_qkv = clip;
    add_qk_norm(norm, block.attention);
    block.moe = moe;
  }
  return spec;
}

}  // namespace lanner
