// SPDX-License-Identifier: Apache-2.0
#include "models/read_moe.h"

#include <algorithm>

#include "base/error.h"

namespace lanner {

MoeConfig read_experts(const ConfigReader& c, int64_t hidden, const char* count_key,
                       const char* width_key) {
  MoeConfig moe;
  moe.hidden = hidden;
  moe.intermediate = c.required_int(width_key);
  moe.activation = read_activation(c, "hidden_act");
  moe.router.num_experts = c.required_int(count_key, {.max = 65'536});
  moe.router.top_k = c.required_int("num_experts_per_tok");
  check_argument(moe.router.top_k <= moe.router.num_experts, "{}: {} of {} experts",
                 c.key_path("num_experts_per_tok"), moe.router.top_k, moe.router.num_experts);
  return moe;
}

MlpConfig shared_expert(const MoeConfig& moe, int64_t intermediate) {
  MlpConfig mlp;
  mlp.hidden = moe.hidden;
  mlp.intermediate = intermediate;
  mlp.activation = moe.activation;
  return mlp;
}

std::vector<bool> read_sparse_layers(const ConfigReader& c, size_t num_layers) {
  const int step = c.optional_int("decoder_sparse_step", 1);
  const std::vector<int> dense =
      c.optional_ints("mlp_only_layers", {.min = 0}).value_or(std::vector<int>());
  std::vector<bool> sparse;
  for (int i = 0; i < static_cast<int>(num_layers); ++i) {
    sparse.push_back((i + 1) % step == 0 && std::ranges::find(dense, i) == dense.end());
  }
  return sparse;
}

void read_deepseek_experts(const ConfigReader& c, const DeepseekRouting& routing,
                           DecoderSpec& spec) {
  MoeConfig moe = read_experts(c, spec.hidden_size, "n_routed_experts", "moe_intermediate_size");
  RouterParams& router = moe.router;
  router.score = routing.score;
  router.normalize = routing.normalize;
  router.scale = c.optional_float("routed_scaling_factor", 1.0f);
  if (routing.groups) {
    router.group_score = routing.group_score;
    router.num_groups = c.required_int("n_group");
    router.top_groups = c.required_int("topk_group");
    check_argument(router.num_experts % router.num_groups == 0, "{}: {} groups of {} experts",
                   c.key_path("n_group"), router.num_groups, router.num_experts);
    const int per_group = router.num_experts / router.num_groups;
    check_argument(
        router.top_groups <= router.num_groups && router.top_groups * per_group >= router.top_k,
        "{}: {} of {} groups of {} experts do not hold {} experts", c.key_path("topk_group"),
        router.top_groups, router.num_groups, per_group, router.top_k);
  }
  if (routing.correction_bias) moe.correction_bias = "gate.e_score_correction_bias";
  if (const auto shared = c.optional_int("n_shared_experts", {.min = 0}); shared.value_or(0) > 0) {
    moe.shared = shared_expert(moe, *shared * moe.intermediate);
  }
  const int first = c.optional_int("first_k_dense_replace", 0, {.min = 0});
  const int step = c.optional_int("moe_layer_freq", 1);
  for (int i = first; i < static_cast<int>(spec.blocks.size()); ++i) {
    if (i % step == 0) spec.blocks[static_cast<size_t>(i)].moe = moe;
  }
}

}  // namespace lanner
