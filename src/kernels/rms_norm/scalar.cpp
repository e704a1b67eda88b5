// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "kernels/rms_norm/kernels.h"

namespace lanner {

// The reference: sums in double, so that every other kernel can be held against it.
static void row_scalar(const float* x, const float* weight, float epsilon, int size, float* y) {
  double sum = 0.0;
  for (int i = 0; i < size; ++i) sum += static_cast<double>(x[i]) * x[i];
  const float scale = static_cast<float>(1.0 / std::sqrt(sum / size + epsilon));
  for (int i = 0; i < size; ++i) y[i] = x[i] * scale * weight[i];
}

const RmsNormKernel kRmsNormScalar = {"scalar", Isa{}, row_scalar};

}  // namespace lanner
