// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "kernels/activation/activation.h"
#include "layers/linear.h"
#include "weights/config_reader.h"

namespace lanner {

// The activation that config.json names under `key`. Throws Error(kUnsupported) naming the value
// and those that work.
Activation read_activation(const ConfigReader& config, const char* key);

// What stands between a block's attention and the next block: an MLP, a mixture of experts.
class FeedForward {
 public:
  virtual ~FeedForward() = default;

  // y = f(x), or y += f(x); x, y [num_tokens, hidden] fp32. y must not overlap x.
  virtual void forward(const Tensor& x, const Tensor& y, bool accumulate,
                       ExecutionContext& context) const = 0;
  virtual void tally(WeightTally& tally) const = 0;
};

struct MlpConfig {
  int64_t hidden = 0;
  int64_t intermediate = 0;
  Activation activation = Activation::kSilu;
  bool gated = true;  // down(act(gate(x)) * up(x)), else down(act(up(x)))
  bool bias = false;  // of all matrices
  // Names in the checkpoint. With gate_up gate and up are one tensor, in this order.
  std::string gate = "gate_proj";
  std::string up = "up_proj";
  std::string down = "down_proj";
  std::string gate_up = {};
  bool transposed = false;  // stored as [in, out]
};

// down(act(gate(x)) * up(x)) (Shazeer 2020, arXiv 2002.05202), gate and up in one GEMM; or
// down(act(up(x))).
class Mlp : public FeedForward {
 public:
  Mlp(const MlpConfig& config, const WeightScope& weights, LoadContext& context);

  void forward(const Tensor& x, const Tensor& y, bool accumulate,
               ExecutionContext& context) const override;
  void tally(WeightTally& tally) const override;

 private:
  MlpConfig config_;
  ColumnParallelLinear up_;  // of a gated one: gate, then up
  RowParallelLinear down_;
};

}  // namespace lanner
