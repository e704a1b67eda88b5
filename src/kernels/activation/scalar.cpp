// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "kernels/activation/kernels.h"

namespace lanner {
namespace {

float silu(float x) { return x / (1.0f + std::exp(-x)); }

float gelu(float x) { return 0.5f * x * (1.0f + std::erf(x * 0.70710678118654752f)); }

// (1 + tanh(u)) / 2 = 1 / (1 + exp(-2u)), which does not cancel for negative x.
float gelu_tanh(float x) {
  const float u = 0.79788456080286536f * (x + 0.044715f * x * x * x);
  return x / (1.0f + std::exp(-2.0f * u));
}

float relu(float x) { return x < 0.0f ? 0.0f : x; }

float relu2(float x) { return relu(x) * relu(x); }

template <float (*Act)(float)>
void plain(const float* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = Act(x[i]);
}

template <float (*Act)(float)>
void gated(const float* gate, const float* up, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = Act(gate[i]) * up[i];
}

}  // namespace

const ActivationKernel kActivationScalar = {
    "scalar",
    Isa{},
    {plain<silu>, plain<gelu>, plain<gelu_tanh>, plain<relu>, plain<relu2>},
    {gated<silu>, gated<gelu>, gated<gelu_tanh>, gated<relu>, gated<relu2>},
};

}  // namespace lanner
