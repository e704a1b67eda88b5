// SPDX-License-Identifier: Apache-2.0
#include "kernels/elementwise/kernels.h"
#include "kernels/vector_math_avx512.h"

namespace lanner {

static void scaled_add(float a, const float* x, float b, int64_t n, float* y) {
  const __m512 va = _mm512_set1_ps(a), vb = _mm512_set1_ps(b);
  if (b == 0.0f) {
    for (int64_t i = 0; i < n; i += 16) {
      store_avx512(y + i, n - i, _mm512_mul_ps(va, load_avx512(x + i, n - i)));
    }
    return;
  }
  for (int64_t i = 0; i < n; i += 16) {
    const __m512 old = _mm512_mul_ps(vb, load_avx512(y + i, n - i));
    store_avx512(y + i, n - i, _mm512_fmadd_ps(va, load_avx512(x + i, n - i), old));
  }
}

static void multiply(const float* x, const float* factors, int64_t n, float* y) {
  for (int64_t i = 0; i < n; i += 16) {
    const __m512 product =
        _mm512_mul_ps(load_avx512(x + i, n - i), load_avx512(factors + i, n - i));
    store_avx512(y + i, n - i, product);
  }
}

static void soft_cap(float cap, const float* x, int64_t n, float* y) {
  const __m512 vcap = _mm512_set1_ps(cap);
  for (int64_t i = 0; i < n; i += 16) {
    const __m512 t = tanh_avx512(_mm512_div_ps(load_avx512(x + i, n - i), vcap));
    store_avx512(y + i, n - i, _mm512_mul_ps(vcap, t));
  }
}

// In this order of operands a NaN passes.
static void clamp(float limit, const float* x, int64_t n, float* y) {
  const __m512 high = _mm512_set1_ps(limit), low = _mm512_set1_ps(-limit);
  for (int64_t i = 0; i < n; i += 16) {
    const __m512 v = load_avx512(x + i, n - i);
    store_avx512(y + i, n - i, _mm512_min_ps(high, _mm512_max_ps(low, v)));
  }
}

const ElementwiseKernel kElementwiseAvx512 = {"avx512", Isa{Isa::kAvx512}, scaled_add,
                                              multiply, soft_cap,          clamp};

}  // namespace lanner
