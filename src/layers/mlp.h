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

  // Puts f(x) into the sum over the ranks; x [num_tokens, hidden] fp32, which y of the sum must not
  // overlap.
  virtual void forward(const Tensor& x, RankSum& sum, ExecutionContext& context) const = 0;
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
// down(act(up(x))). Each rank has some of the inner columns (share_of_mlp).
class Mlp : public FeedForward {
 public:
  Mlp(const MlpConfig& config, const WeightScope& weights, LoadContext& context);

  void forward(const Tensor& x, RankSum& sum, ExecutionContext& context) const override;
  // y = this rank's part of f(x); x, y [num_tokens, hidden] fp32.
  void forward_part(const Tensor& x, const Tensor& y, ExecutionContext& context) const;
  void tally(WeightTally& tally) const override;

 private:
  RowParallelLinear::Input forward_up(const Tensor& x, ExecutionContext& context) const;

  MlpConfig config_;
  Share columns_;
  ColumnParallelLinear up_;  // of a gated one: gate, then up
  RowParallelLinear down_;
};

}  // namespace lanner
