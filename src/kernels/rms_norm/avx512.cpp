// SPDX-License-Identifier: Apache-2.0
#include "kernels/rms_norm/kernels.h"
#include "kernels/vector_math_avx512.h"

namespace lanner {

static void row_avx512(const float* x, const float* weight, float epsilon, int size, float* y) {
  // Two accumulators: one FMA chain alone would wait for its own latency.
  __m512 sum0 = _mm512_setzero_ps();
  __m512 sum1 = _mm512_setzero_ps();
  int i = 0;
  for (; i + 32 <= size; i += 32) {
    const __m512 a = _mm512_loadu_ps(x + i);
    const __m512 b = _mm512_loadu_ps(x + i + 16);
    sum0 = _mm512_fmadd_ps(a, a, sum0);
    sum1 = _mm512_fmadd_ps(b, b, sum1);
  }
  for (; i < size; i += 16) {
    const __m512 a = _mm512_maskz_loadu_ps(tail_mask_avx512(size - i), x + i);
    sum0 = _mm512_fmadd_ps(a, a, sum0);
  }
  const float mean = _mm512_reduce_add_ps(_mm512_add_ps(sum0, sum1)) / static_cast<float>(size);
  const __m512 scale = _mm512_set1_ps(1.0f / __builtin_sqrtf(mean + epsilon));
  for (i = 0; i + 16 <= size; i += 16) {
    const __m512 scaled = _mm512_mul_ps(_mm512_loadu_ps(x + i), scale);
    _mm512_storeu_ps(y + i, _mm512_mul_ps(scaled, _mm512_loadu_ps(weight + i)));
  }
  if (i < size) {
    const __mmask16 mask = tail_mask_avx512(size - i);
    const __m512 scaled = _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + i), scale);
    _mm512_mask_storeu_ps(y + i, mask,
                          _mm512_mul_ps(scaled, _mm512_maskz_loadu_ps(mask, weight + i)));
  }
}

const RmsNormKernel kRmsNormAvx512 = {"avx512", Isa{Isa::kAvx512}, row_avx512};

}  // namespace lanner
