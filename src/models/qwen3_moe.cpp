// SPDX-License-Identifier: Apache-2.0
// Qwen 3 MoE (arXiv 2505.09388; HF transformers/models/qwen3_moe): Qwen 3 with a mixture of experts
// in sparse layers and no shared expert.
#include "models/families.h"
#include "models/read_moe.h"

namespace lanner {

DecoderSpec qwen3_moe(const ConfigReader& c) {
  DecoderSpec spec = read_llama_like(c);
  // transformers 5 writes it under the other name.
  const char* count_key = c.contains("num_local_experts") ? "num_local_experts" : "num_experts";
  MoeConfig moe = read_experts(c, spec.hidden_size, count_key, "moe_intermediate_size");
  moe.router.normalize = c.optional_bool("norm_topk_prob", false);
  const std::vector<bool> sparse = read_sparse_layers(c, spec.blocks.size());
  const bool bias = c.optional_bool("attention_bias", false);
  const NormConfig norm = read_rms_norm(c);
  // In force in all layers: the reference does not read max_window_layers.
  int window = c.optional_int("sliding_window", 4096, {.min = 0});
  if (!c.optional_bool("use_sliding_window", false)) window = 0;
  c.optional_int("max_window_layers", {.min = 0});
  for (size_t i = 0; i < spec.blocks.size(); ++i) {
    BlockConfig& block = spec.blocks[i];
    block.attention.qkv_bias = block.attention.output_bias = bias;
    block.attention.q_norm = norm.named("q_norm");
    block.attention.k_norm = norm.named("k_norm");
    block.attention.sliding_window = window;
    if (sparse[i]) block.moe = moe;
  }
  return spec;
}

}  // namespace lanner
