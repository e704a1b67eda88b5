// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "kernels/layer_norm/kernels.h"

namespace lanner {

// The reference: sums in double, so that every other kernel can be held against it.
static void row_scalar(const float* x, const float* weight, const float* bias, float epsilon,
                       int size, float* y) {
  double sum = 0.0;
  for (int i = 0; i < size; ++i) sum += x[i];
  const double mean = sum / size;
  double squares = 0.0;
  for (int i = 0; i < size; ++i) squares += (x[i] - mean) * (x[i] - mean);
  const double scale = 1.0 / std::sqrt(squares / size + epsilon);
  for (int i = 0; i < size; ++i) {
    const float normal = static_cast<float>((x[i] - mean) * scale);
    y[i] = normal * (weight != nullptr ? weight[i] : 1.0f) + (bias != nullptr ? bias[i] : 0.0f);
  }
}

const LayerNormKernel kLayerNormScalar = {"scalar", Isa{}, row_scalar};

}  // namespace lanner
