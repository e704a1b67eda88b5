// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/activation/activation.h"
#include "layers/linear.h"
#include "weights/config_reader.h"

namespace lanner {

// The activation that config.json names under `key`. Throws Error(kUnsupported) naming the value
// and those that work.
Activation read_activation(const ConfigReader& config, const char* key);

struct GatedMlpConfig {
  int64_t hidden = 0;
  int64_t intermediate = 0;
  Activation activation = Activation::kSilu;
  bool bias = false;
};

// down(act(gate(x)) * up(x)) (Shazeer 2020, arXiv 2002.05202); gate and up are one GEMM.
class GatedMlp {
 public:
  GatedMlp(const GatedMlpConfig& config, const WeightScope& weights, LoadContext& context);

  // hidden += mlp(x); x, hidden [num_tokens, hidden] fp32.
  void forward_add(const Tensor& x, const Tensor& hidden, ExecutionContext& context) const;

  void tally(WeightTally& tally) const {
    tally.add(gate_up_);
    tally.add(down_);
  }

 private:
  GatedMlpConfig config_;
  ColumnParallelLinear gate_up_;
  RowParallelLinear down_;
};

}  // namespace lanner
