// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "layers/execution_context.h"
#include "layers/load_vector.h"
#include "layers/split.h"
#include "weights/checkpoint.h"

namespace lanner {

enum class NormKind { kRms, kLayer };

struct NormConfig {
  std::string name;  // of its tensors in the checkpoint, without ".weight" and ".bias"
  NormKind kind = NormKind::kRms;
  float epsilon = 1e-5f;
  bool has_weight = true;
  bool has_bias = false;
  float weight_offset = 0.0f;  // 1 where the file holds weight - 1

  // The same norm under another name.
  NormConfig named(std::string other) const {
    NormConfig config = *this;
    config.name = std::move(other);
    return config;
  }
};

// A normalisation with its parameters; the arithmetic is that of kernels/rms_norm and
// kernels/layer_norm.
class Norm {
 public:
  // weights: what the config's name is looked up in. The result is multiplied by `scale`.
  Norm(const NormConfig& config, int64_t size, const WeightScope& weights, float scale = 1.0f);

  // x, y [num_tokens, size] fp32; y may be x.
  void forward(const Tensor& x, const Tensor& y, ExecutionContext& context) const;

 private:
  NormConfig config_;
  std::vector<float> weight_;  // [size], or empty: ones
  std::vector<float> bias_;    // [size], or empty: zeros
};

// Which elements of all heads of a token are normalised together.
enum class HeadNormSpan {
  kHead,           // each head on its own, one weight for all of them
  kHeadOwnWeight,  // each head on its own, with a weight of its own
  kAllHeads,       // all heads as one vector
};

// The norm of the query or key heads of a token (QK-norm; Henry et al. 2020, arXiv 2010.04245).
// With kHeadOwnWeight and "{}" in its name each head's weight is a tensor of its own, else one of
// [heads, head_dim]. A rank has the heads `own` of num_heads.
class HeadNorm {
 public:
  HeadNorm(const NormConfig& config, HeadNormSpan span, int num_heads, const Share& own,
           int head_dim, const WeightScope& weights);

  // In place; x [num_tokens, own heads * head_dim] fp32, any row stride.
  void forward(const Tensor& x, ExecutionContext& context) const;

  // kAllHeads over several ranks: squares [num_tokens, 1] += the sums of the squares of x, then
  // forward() with those of all ranks together.
  void add_squares(const Tensor& x, const Tensor& squares) const;
  void forward_with_squares(const Tensor& x, const Tensor& squares,
                            ExecutionContext& context) const;

 private:
  NormConfig config_;
  HeadNormSpan span_;
  int num_heads_;  // of all ranks
  int head_dim_;
  std::vector<float> weight_;  // [head_dim] or [own heads * head_dim]
  std::vector<float> bias_;    // the same, or empty
};

}  // namespace lanner
