// SPDX-License-Identifier: Apache-2.0
// StableLM (arXiv 2402.17834; HF transformers/models/stablelm): Llama with LayerNorm and partial
// RoPE. StableLM 2 12B adds norms on the heads of Q and K, a weight for each head, and parallel
// blocks.
#include "models/families.h"

namespace lanner {

DecoderSpec stablelm(const ConfigReader& c) {
  NormConfig norm{.name = "",
                  .kind = NormKind::kLayer,
                  .epsilon = c.optional_float("layer_norm_eps", 1e-5f),
                  .has_weight = true,
                  .has_bias = true};
  DecoderSpec spec = read_llama_like(c, norm);
  const bool qkv_bias = c.optional_bool("use_qkv_bias", false);
  const bool qk_norm = c.optional_bool("qk_layernorm", false);
  const bool parallel = c.optional_bool("use_parallel_residual", false);
  norm.has_bias = false;
  for (BlockConfig& block : spec.blocks) {
    block.attention.qkv_bias = qkv_bias;
    if (qk_norm) {
      block.attention.q_norm = norm.named("q_layernorm.norms.{}");
      block.attention.k_norm = norm.named("k_layernorm.norms.{}");
      block.attention.qk_norm_span = HeadNormSpan::kHeadOwnWeight;
    }
    if (parallel) {
      block.residual = Residual::kParallel;
      block.mlp_norm = std::nullopt;
    }
  }
  return spec;
}

}  // namespace lanner
