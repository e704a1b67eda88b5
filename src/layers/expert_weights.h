// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "layers/moe.h"

namespace lanner {

// A rank's slice of the matrices of all experts, whichever way a checkpoint stores them.
struct ExpertWeights {
  PackedWeight gate_up;             // parts: gate and up of expert 0, of expert 1, …
  PackedWeight down;                // a part per expert
  Share down_columns;               // of down that are held: whole groups of quantised values
  std::vector<float> gate_up_bias;  // [experts * 2 * own columns], or empty
  std::vector<float> down_bias;     // [experts * hidden], or empty: rank 0 adds it
};

// From a tensor per expert, from one tensor of all, or from the MXFP4 blocks of the published
// GPT-OSS files, whose values a q8_0 weight holds exactly. `columns`: the inner ones that are this
// rank's; without any there are no weights. Throws Error naming the tensor that is
// missing or has another shape or type.
ExpertWeights load_expert_weights(const MoeConfig& config, const Share& columns,
                                  const WeightScope& weights, LoadContext& context);

}  // namespace lanner
