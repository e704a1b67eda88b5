// SPDX-License-Identifier: Apache-2.0
// Qwen 1.5 and 2 MoE (HF transformers/models/qwen2_moe): Qwen 2 with a mixture of experts in sparse
// layers, beside a shared expert that a sigmoid gate scales.
#include "models/families.h"
#include "models/layer_types.h"
#include "models/read_moe.h"

namespace lanner {

DecoderSpec qwen2_moe(const ConfigReader& c) {
  DecoderSpec spec = read_llama_like(c);
  MoeConfig moe = read_experts(c, spec.hidden_size, "num_experts", "moe_intermediate_size");
  moe.router.normalize = c.optional_bool("norm_topk_prob", false);
  moe.shared = shared_expert(moe, c.required_int("shared_expert_intermediate_size"));
  moe.shared_name = "shared_expert";
  moe.shared_gate = "shared_expert_gate";
  const bool qkv_bias = c.optional_bool("qkv_bias", true);
  const std::vector<bool> sparse = read_sparse_layers(c, spec.blocks.size());

  const bool use_window = c.optional_bool("use_sliding_window", false);
  const int window = c.optional_int("sliding_window", 4096, {.min = 0});
  const int first_windowed = c.optional_int("max_window_layers", 28, {.min = 0});
  const std::vector<bool> windowed = read_windowed_layers(
      c, spec.blocks.size(), [&](int i) { return use_window && i >= first_windowed; });
  for (size_t i = 0; i < spec.blocks.size(); ++i) {
    BlockConfig& block = spec.blocks[i];
    block.attention.qkv_bias = qkv_bias;
    if (windowed[i]) block.attention.sliding_window = window;
    if (sparse[i]) block.moe = moe;
  }
  return spec;
}

}  // namespace lanner
