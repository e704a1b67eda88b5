// SPDX-License-Identifier: Apache-2.0
#include "kernels/activation/kernels.h"
#include "kernels/vector_math_avx512.h"

namespace lanner {
namespace {

__m512 silu(__m512 x) {
  const __m512 e = exp_avx512(_mm512_sub_ps(_mm512_setzero_ps(), x));
  return _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1.0f), e));
}

__m512 gelu(__m512 x) {
  const __m512 erf = erf_avx512(_mm512_mul_ps(x, _mm512_set1_ps(0.70710678118654752f)));
  const __m512 half = _mm512_mul_ps(x, _mm512_set1_ps(0.5f));
  return _mm512_mul_ps(half, _mm512_add_ps(_mm512_set1_ps(1.0f), erf));
}

// (1 + tanh(u)) / 2 = 1 / (1 + exp(-2u)), which does not cancel for negative x.
__m512 gelu_tanh(__m512 x) {
  const __m512 cube = _mm512_mul_ps(_mm512_mul_ps(x, x), x);
  const __m512 u = _mm512_fmadd_ps(cube, _mm512_set1_ps(0.044715f), x);
  const __m512 e = exp_avx512(_mm512_mul_ps(u, _mm512_set1_ps(-2.0f * 0.79788456080286536f)));
  return _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1.0f), e));
}

// In this order of operands a NaN passes.
__m512 relu(__m512 x) { return _mm512_max_ps(_mm512_setzero_ps(), x); }

__m512 relu2(__m512 x) { return _mm512_mul_ps(relu(x), relu(x)); }

template <__m512 (*Act)(__m512)>
void plain(const float* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; i += 16) store_avx512(y + i, n - i, Act(load_avx512(x + i, n - i)));
}

template <__m512 (*Act)(__m512)>
void gated(const float* gate, const float* up, int64_t n, float* y) {
  for (int64_t i = 0; i < n; i += 16) {
    const __m512 activated = Act(load_avx512(gate + i, n - i));
    store_avx512(y + i, n - i, _mm512_mul_ps(activated, load_avx512(up + i, n - i)));
  }
}

}  // namespace

const ActivationKernel kActivationAvx512 = {
    "avx512",
    Isa{Isa::kAvx512},
    {plain<silu>, plain<gelu>, plain<gelu_tanh>, plain<relu>, plain<relu2>},
    {gated<silu>, gated<gelu>, gated<gelu_tanh>, gated<relu>, gated<relu2>},
};

}  // namespace lanner
