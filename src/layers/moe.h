// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "kernels/moe/moe.h"
#include "layers/mlp.h"

namespace lanner {

struct MoeConfig {
  int64_t hidden = 0;
  int64_t intermediate = 0;  // of one expert
  Activation activation = Activation::kSilu;
  // > 0: the clamped gate of GPT-OSS in place of `activation`.
  float gate_limit = 0.0f;
  RouterParams router;  // correction_bias is left to the layer
  bool expert_bias = false;
  // A dense MLP that every token goes through as well.
  std::optional<MlpConfig> shared = std::nullopt;

  // Names in the checkpoint.
  std::string router_name = "gate";
  bool router_bias = false;
  std::string correction_bias = {};  // empty: none
  // A tensor of each expert's own, "{}" standing for its number; without ".weight" and ".bias".
  std::string gate = "experts.{}.gate_proj";
  std::string up = "experts.{}.up_proj";
  std::string down = "experts.{}.down_proj";
  // One tensor of all experts, used where the checkpoint has it: [experts, 2 * intermediate,
  // hidden] and [experts, hidden, intermediate]. Whole names; biases end in "_bias".
  std::string all_gate_up = {};
  std::string all_down = {};
  bool gate_up_alternate =
      false;                // its rows are gate, up, gate, up, …; else all of gate, all of up
  bool transposed = false;  // [experts, hidden, 2 * intermediate], [experts, intermediate, hidden]
  std::string shared_name = "shared_experts";
  // The shared MLP's result is multiplied by the sigmoid of this projection of x; empty: it is not.
  std::string shared_gate = {};
};

// A mixture of experts (Shazeer et al. 2017, arXiv 1701.06538): a router sends each token to top_k
// of many gated MLPs, whose results are added by weight. All experts are one packed weight each for
// gate and up and for down; a step reads those of the experts it has tokens for. Each rank has a
// slice of every expert, cut as an MLP is: all ranks have the same work whichever experts are
// chosen.
class Moe : public FeedForward {
 public:
  Moe(const MoeConfig& config, const WeightScope& weights, LoadContext& context);

  void forward(const Tensor& x, RankSum& sum, ExecutionContext& context) const override;
  void tally(WeightTally& tally) const override;

 private:
  void add_shared(const Tensor& x, RankSum& sum, ExecutionContext& context) const;

  MoeConfig config_;
  std::optional<Linear> router_;
  std::vector<float> correction_bias_;
  Share columns_;         // of every expert's inner ones: this rank's
  Share down_columns_;    // the same in whole groups of quantised values
  PackedWeight gate_up_;  // parts: gate and up of expert 0, of expert 1, …
  PackedWeight down_;     // a part per expert
  std::vector<float> gate_up_bias_, down_bias_;
  std::optional<Mlp> shared_;
  std::optional<Linear> shared_gate_;
};

}  // namespace lanner
