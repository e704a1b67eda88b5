// SPDX-License-Identifier: Apache-2.0
#include "kernels/rms_norm/kernels.h"
#include "kernels/vector_math_avx2.h"

namespace lanner {

static void row_avx2(const float* x, const float* weight, float epsilon, int size, float* y) {
  // Two accumulators: one FMA chain alone would wait for its own latency.
  __m256 sum0 = _mm256_setzero_ps();
  __m256 sum1 = _mm256_setzero_ps();
  int i = 0;
  for (; i + 16 <= size; i += 16) {
    const __m256 a = _mm256_loadu_ps(x + i);
    const __m256 b = _mm256_loadu_ps(x + i + 8);
    sum0 = _mm256_fmadd_ps(a, a, sum0);
    sum1 = _mm256_fmadd_ps(b, b, sum1);
  }
  for (; i < size; i += 8) {
    const __m256 a = _mm256_maskload_ps(x + i, tail_mask_avx2(size - i));
    sum0 = _mm256_fmadd_ps(a, a, sum0);
  }
  const float mean = reduce_add_avx2(_mm256_add_ps(sum0, sum1)) / static_cast<float>(size);
  const __m256 scale = _mm256_set1_ps(1.0f / __builtin_sqrtf(mean + epsilon));
  for (i = 0; i + 8 <= size; i += 8) {
    const __m256 scaled = _mm256_mul_ps(_mm256_loadu_ps(x + i), scale);
    _mm256_storeu_ps(y + i, _mm256_mul_ps(scaled, _mm256_loadu_ps(weight + i)));
  }
  if (i < size) {
    const __m256i mask = tail_mask_avx2(size - i);
    const __m256 scaled = _mm256_mul_ps(_mm256_maskload_ps(x + i, mask), scale);
    _mm256_maskstore_ps(y + i, mask, _mm256_mul_ps(scaled, _mm256_maskload_ps(weight + i, mask)));
  }
}

const RmsNormKernel kRmsNormAvx2 = {"avx2", Isa{Isa::kAvx2}, row_avx2};

}  // namespace lanner
