// SPDX-License-Identifier: Apache-2.0
#include "kernels/activation/kernels.h"
#include "kernels/vector_math_avx2.h"

namespace lanner {
namespace {

__m256 silu(__m256 x) {
  const __m256 e = exp_avx2(_mm256_sub_ps(_mm256_setzero_ps(), x));
  return _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1.0f), e));
}

__m256 gelu(__m256 x) {
  const __m256 erf = erf_avx2(_mm256_mul_ps(x, _mm256_set1_ps(0.70710678118654752f)));
  const __m256 half = _mm256_mul_ps(x, _mm256_set1_ps(0.5f));
  return _mm256_mul_ps(half, _mm256_add_ps(_mm256_set1_ps(1.0f), erf));
}

// (1 + tanh(u)) / 2 = 1 / (1 + exp(-2u)), which does not cancel for negative x.
__m256 gelu_tanh(__m256 x) {
  const __m256 cube = _mm256_mul_ps(_mm256_mul_ps(x, x), x);
  const __m256 u = _mm256_fmadd_ps(cube, _mm256_set1_ps(0.044715f), x);
  const __m256 e = exp_avx2(_mm256_mul_ps(u, _mm256_set1_ps(-2.0f * 0.79788456080286536f)));
  return _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1.0f), e));
}

// In this order of operands a NaN passes.
__m256 relu(__m256 x) { return _mm256_max_ps(_mm256_setzero_ps(), x); }

__m256 relu2(__m256 x) { return _mm256_mul_ps(relu(x), relu(x)); }

template <__m256 (*Act)(__m256)>
void plain(const float* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; i += 8) store_avx2(y + i, n - i, Act(load_avx2(x + i, n - i)));
}

template <__m256 (*Act)(__m256)>
void gated(const float* gate, const float* up, int64_t n, float* y) {
  for (int64_t i = 0; i < n; i += 8) {
    const __m256 activated = Act(load_avx2(gate + i, n - i));
    store_avx2(y + i, n - i, _mm256_mul_ps(activated, load_avx2(up + i, n - i)));
  }
}

}  // namespace

const ActivationKernel kActivationAvx2 = {
    "avx2",
    Isa{Isa::kAvx2},
    {plain<silu>, plain<gelu>, plain<gelu_tanh>, plain<relu>, plain<relu2>},
    {gated<silu>, gated<gelu>, gated<gelu_tanh>, gated<relu>, gated<relu2>},
};

}  // namespace lanner
