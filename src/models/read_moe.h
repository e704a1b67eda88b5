// SPDX-License-Identifier: Apache-2.0
// What families with a mixture of experts share in config.json.
#pragma once

#include "models/decoder_spec.h"

namespace lanner {

// Experts: num_experts_per_tok of `count_key`, each `width_key` wide, with the activation
// hidden_act; softmax over all of them. Throws Error naming a key that does not fit.
MoeConfig read_experts(const ConfigReader& config, int64_t hidden, const char* count_key,
                       const char* width_key);

// A dense MLP beside the experts, with the family's activation.
MlpConfig shared_expert(const MoeConfig& moe, int64_t intermediate);

// Which layers are sparse: by decoder_sparse_step and mlp_only_layers (Qwen).
std::vector<bool> read_sparse_layers(const ConfigReader& config, size_t num_layers);

// The experts of DeepSeek V2 and what follows it: n_routed_experts of moe_intermediate_size,
// n_shared_experts, routed_scaling_factor, groups; layers from first_k_dense_replace on, every
// moe_layer_freq-th, are sparse. Goes into the blocks of `spec`.
struct DeepseekRouting {
  RouterScore score = RouterScore::kSoftmax;
  GroupScore group_score = GroupScore::kBest;
  bool groups = false;  // n_group and topk_group are in force
  bool normalize = false;
  bool correction_bias = false;  // e_score_correction_bias
};
void read_deepseek_experts(const ConfigReader& config, const DeepseekRouting& routing,
                           DecoderSpec& spec);

}  // namespace lanner
