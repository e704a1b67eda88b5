// SPDX-License-Identifier: Apache-2.0
// GLM 4.5 (arXiv 2508.06471; HF transformers/models/glm4_moe): grouped-query attention with partial
// RoPE in halves and, in some sizes, norms on the heads of Q and K; routing like DeepSeek V3.
#include "models/families.h"
#include "models/read_moe.h"

namespace lanner {

DecoderSpec glm4_moe(const ConfigReader& c) {
  DecoderSpec spec = read_llama_like(c);
  const NormConfig norm = read_rms_norm(c);
  const bool bias = c.optional_bool("attention_bias", false);
  const bool qk_norm = c.optional_bool("use_qk_norm", false);
  for (BlockConfig& block : spec.blocks) {
    block.attention.qkv_bias = bias;
    if (!qk_norm) continue;
    block.attention.q_norm = norm.named("q_norm");
    block.attention.k_norm = norm.named("k_norm");
  }
  read_deepseek_experts(c,
                        {.score = RouterScore::kSigmoid,
                         .group_score = GroupScore::kSumOfTwo,
                         .groups = true,
                         .normalize = c.optional_bool("norm_topk_prob", true),
                         .correction_bias = true},
                        spec);
  return spec;
}

}  // namespace lanner
