// SPDX-License-Identifier: Apache-2.0
#include "kernels/layer_norm/kernels.h"
#include "kernels/vector_math_avx512.h"

namespace lanner {

// Zero past the end, so that the tail does not count in the sum of squares.
static __m512 distance_from_mean(const float* x, int left, __m512 mean) {
  return _mm512_maskz_sub_ps(tail_mask_avx512(left), load_avx512(x, left), mean);
}

static void row_avx512(const float* x, const float* weight, const float* bias, float epsilon,
                       int size, float* y) {
  // Mean first, then the squared distances from it: sum(x^2) - mean^2 would cancel.
  __m512 sum0 = _mm512_setzero_ps();
  __m512 sum1 = _mm512_setzero_ps();
  int i = 0;
  for (; i + 2 * 16 <= size; i += 2 * 16) {
    sum0 = _mm512_add_ps(sum0, _mm512_loadu_ps(x + i));
    sum1 = _mm512_add_ps(sum1, _mm512_loadu_ps(x + i + 16));
  }
  for (; i < size; i += 16) sum0 = _mm512_add_ps(sum0, load_avx512(x + i, size - i));
  const float count = static_cast<float>(size);
  const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(_mm512_add_ps(sum0, sum1)) / count);

  sum0 = sum1 = _mm512_setzero_ps();
  for (i = 0; i + 2 * 16 <= size; i += 2 * 16) {
    const __m512 a = _mm512_sub_ps(_mm512_loadu_ps(x + i), mean);
    const __m512 b = _mm512_sub_ps(_mm512_loadu_ps(x + i + 16), mean);
    sum0 = _mm512_fmadd_ps(a, a, sum0);
    sum1 = _mm512_fmadd_ps(b, b, sum1);
  }
  for (; i < size; i += 16) {
    const __m512 a = distance_from_mean(x + i, size - i, mean);
    sum0 = _mm512_fmadd_ps(a, a, sum0);
  }
  const float variance = _mm512_reduce_add_ps(_mm512_add_ps(sum0, sum1)) / count;
  const __m512 scale = _mm512_set1_ps(1.0f / __builtin_sqrtf(variance + epsilon));

  for (i = 0; i < size; i += 16) {
    __m512 a = _mm512_mul_ps(distance_from_mean(x + i, size - i, mean), scale);
    if (weight != nullptr) a = _mm512_mul_ps(a, load_avx512(weight + i, size - i));
    if (bias != nullptr) a = _mm512_add_ps(a, load_avx512(bias + i, size - i));
    store_avx512(y + i, size - i, a);
  }
}

const LayerNormKernel kLayerNormAvx512 = {"avx512", Isa{Isa::kAvx512}, row_avx512};

}  // namespace lanner
