// SPDX-License-Identifier: Apache-2.0
#include "kernels/elementwise/kernels.h"
#include "kernels/vector_math_avx2.h"

namespace lanner {

static void scaled_add(float a, const float* x, float b, int64_t n, float* y) {
  const __m256 va = _mm256_set1_ps(a), vb = _mm256_set1_ps(b);
  if (b == 0.0f) {
    for (int64_t i = 0; i < n; i += 8) {
      store_avx2(y + i, n - i, _mm256_mul_ps(va, load_avx2(x + i, n - i)));
    }
    return;
  }
  for (int64_t i = 0; i < n; i += 8) {
    const __m256 old = _mm256_mul_ps(vb, load_avx2(y + i, n - i));
    store_avx2(y + i, n - i, _mm256_fmadd_ps(va, load_avx2(x + i, n - i), old));
  }
}

static void multiply(const float* x, const float* factors, int64_t n, float* y) {
  for (int64_t i = 0; i < n; i += 8) {
    const __m256 product = _mm256_mul_ps(load_avx2(x + i, n - i), load_avx2(factors + i, n - i));
    store_avx2(y + i, n - i, product);
  }
}

static void soft_cap(float cap, const float* x, int64_t n, float* y) {
  const __m256 vcap = _mm256_set1_ps(cap);
  for (int64_t i = 0; i < n; i += 8) {
    const __m256 t = tanh_avx2(_mm256_div_ps(load_avx2(x + i, n - i), vcap));
    store_avx2(y + i, n - i, _mm256_mul_ps(vcap, t));
  }
}

// In this order of operands a NaN passes.
static void clamp(float limit, const float* x, int64_t n, float* y) {
  const __m256 high = _mm256_set1_ps(limit), low = _mm256_set1_ps(-limit);
  for (int64_t i = 0; i < n; i += 8) {
    const __m256 v = load_avx2(x + i, n - i);
    store_avx2(y + i, n - i, _mm256_min_ps(high, _mm256_max_ps(low, v)));
  }
}

const ElementwiseKernel kElementwiseAvx2 = {"avx2",   Isa{Isa::kAvx2}, scaled_add,
                                            multiply, soft_cap,        clamp};

}  // namespace lanner
