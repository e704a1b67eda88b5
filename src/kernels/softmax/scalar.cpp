// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "kernels/softmax/kernels.h"

namespace lanner {

// The reference: the sum in double, so that every other kernel can be held against it.
static void row_scalar(const float* x, int size, float* y) {
  float max = -INFINITY;
  for (int i = 0; i < size; ++i) max = x[i] > max ? x[i] : max;
  if (max == -INFINITY) max = 0.0f;  // every exp is 0 then, and not NaN
  double sum = 0.0;
  for (int i = 0; i < size; ++i) {
    y[i] = std::exp(x[i] - max);
    sum += y[i];
  }
  const float scale = sum == 0.0 ? 0.0f : static_cast<float>(1.0 / sum);
  for (int i = 0; i < size; ++i) y[i] *= scale;
}

const SoftmaxKernel kSoftmaxScalar = {"scalar", Isa{}, row_scalar};

}  // namespace lanner
