// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "kernels/elementwise/kernels.h"

namespace lanner {
namespace {

void scaled_add(float a, const float* x, float b, int64_t n, float* y) {
  if (b == 0.0f) {
    for (int64_t i = 0; i < n; ++i) y[i] = a * x[i];
    return;
  }
  for (int64_t i = 0; i < n; ++i) y[i] = a * x[i] + b * y[i];
}

void multiply(const float* x, const float* factors, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] * factors[i];
}

void soft_cap(float cap, const float* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = cap * std::tanh(x[i] / cap);
}

// In this order of comparisons a NaN passes.
void clamp(float limit, const float* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) {
    const float low = x[i] < -limit ? -limit : x[i];
    y[i] = low > limit ? limit : low;
  }
}

}  // namespace

const ElementwiseKernel kElementwiseScalar = {"scalar", Isa{},    scaled_add,
                                              multiply, soft_cap, clamp};

}  // namespace lanner
