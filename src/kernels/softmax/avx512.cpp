// SPDX-License-Identifier: Apache-2.0
#include "kernels/softmax/kernels.h"
#include "kernels/vector_math_avx512.h"

namespace lanner {

static void row_avx512(const float* x, int size, float* y) {
  const __m512 minus_infinity = _mm512_set1_ps(-__builtin_inff());
  __m512 max0 = minus_infinity;
  __m512 max1 = minus_infinity;
  int i = 0;
  for (; i + 32 <= size; i += 32) {
    max0 = _mm512_max_ps(max0, _mm512_loadu_ps(x + i));
    max1 = _mm512_max_ps(max1, _mm512_loadu_ps(x + i + 16));
  }
  for (; i < size; i += 16) {
    const __mmask16 mask = tail_mask_avx512(size - i);
    max0 = _mm512_max_ps(max0, _mm512_mask_loadu_ps(minus_infinity, mask, x + i));
  }
  float largest = _mm512_reduce_max_ps(_mm512_max_ps(max0, max1));
  if (largest == -__builtin_inff()) largest = 0.0f;  // every exp is 0 then, and not NaN
  const __m512 max = _mm512_set1_ps(largest);

  __m512 sum0 = _mm512_setzero_ps();
  __m512 sum1 = _mm512_setzero_ps();
  for (i = 0; i + 32 <= size; i += 32) {
    const __m512 a = exp_avx512(_mm512_sub_ps(_mm512_loadu_ps(x + i), max));
    const __m512 b = exp_avx512(_mm512_sub_ps(_mm512_loadu_ps(x + i + 16), max));
    sum0 = _mm512_add_ps(sum0, a);
    sum1 = _mm512_add_ps(sum1, b);
    _mm512_storeu_ps(y + i, a);
    _mm512_storeu_ps(y + i + 16, b);
  }
  for (; i < size; i += 16) {
    const __mmask16 mask = tail_mask_avx512(size - i);
    const __m512 a = exp_avx512(_mm512_sub_ps(load_avx512(x + i, size - i), max));
    sum0 = _mm512_mask_add_ps(sum0, mask, sum0, a);
    store_avx512(y + i, size - i, a);
  }

  const float sum = _mm512_reduce_add_ps(_mm512_add_ps(sum0, sum1));
  const __m512 scale = _mm512_set1_ps(sum == 0.0f ? 0.0f : 1.0f / sum);
  for (i = 0; i < size; i += 16) {
    store_avx512(y + i, size - i, _mm512_mul_ps(load_avx512(y + i, size - i), scale));
  }
}

const SoftmaxKernel kSoftmaxAvx512 = {"avx512", Isa{Isa::kAvx512}, row_avx512};

}  // namespace lanner
