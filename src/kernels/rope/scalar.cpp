// SPDX-License-Identifier: Apache-2.0
#include "kernels/rope/kernels.h"

namespace lanner {
namespace {

void turn(float& a, float& b, float cos, float sin) {
  const float old_a = a;
  a = a * cos - b * sin;
  b = b * cos + old_a * sin;
}

void halves(float* x, const float* cos, const float* sin, int pairs) {
  for (int i = 0; i < pairs; ++i) turn(x[i], x[i + pairs], cos[i], sin[i]);
}

void pairs(float* x, const float* cos, const float* sin, int pairs) {
  for (int i = 0; i < pairs; ++i) turn(x[2 * i], x[2 * i + 1], cos[i], sin[i]);
}

}  // namespace

const RopeKernel kRopeScalar = {"scalar", Isa{}, {halves, pairs}};

}  // namespace lanner
