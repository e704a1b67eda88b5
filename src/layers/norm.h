// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "layers/execution_context.h"
#include "layers/load_vector.h"
#include "weights/checkpoint.h"

namespace lanner {

// Root mean square normalisation with its weight; the arithmetic is that of kernels/rms_norm.
class RmsNorm {
 public:
  RmsNorm(const WeightScope& weights, int64_t hidden, float epsilon)
      : weight_(load_vector(weights, "weight", hidden)), epsilon_(epsilon) {}

  // x, y [num_tokens, hidden] fp32; y may be x.
  void forward(const Tensor& x, const Tensor& y, ExecutionContext& context) const;

 private:
  std::vector<float> weight_;
  float epsilon_;
};

}  // namespace lanner
