// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "layers/execution_context.h"
#include "weights/checkpoint.h"

namespace lanner {

// A vector of the checkpoint as fp32. Throws Error naming the tensor unless it has `size` elements.
std::vector<float> load_vector(const WeightScope& weights, const std::string& name, int64_t size);

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
