// SPDX-License-Identifier: Apache-2.0
#include "kernels/softmax/kernels.h"
#include "kernels/vector_math_avx2.h"

namespace lanner {

// -inf past the end: no maximum, and its exp is 0.
static __m256 load_or_minus_infinity(const float* x, int left) {
  if (left >= 8) return _mm256_loadu_ps(x);
  const __m256i mask = tail_mask_avx2(left);
  return _mm256_blendv_ps(_mm256_set1_ps(-__builtin_inff()), _mm256_maskload_ps(x, mask),
                          _mm256_castsi256_ps(mask));
}

static void row_avx2(const float* x, int size, float* y) {
  __m256 max0 = _mm256_set1_ps(-__builtin_inff());
  __m256 max1 = max0;
  int i = 0;
  for (; i + 16 <= size; i += 16) {
    max0 = _mm256_max_ps(max0, _mm256_loadu_ps(x + i));
    max1 = _mm256_max_ps(max1, _mm256_loadu_ps(x + i + 8));
  }
  for (; i < size; i += 8) max0 = _mm256_max_ps(max0, load_or_minus_infinity(x + i, size - i));
  float largest = reduce_max_avx2(_mm256_max_ps(max0, max1));
  if (largest == -__builtin_inff()) largest = 0.0f;  // every exp is 0 then, and not NaN
  const __m256 max = _mm256_set1_ps(largest);

  __m256 sum0 = _mm256_setzero_ps();
  __m256 sum1 = _mm256_setzero_ps();
  for (i = 0; i + 16 <= size; i += 16) {
    const __m256 a = exp_avx2(_mm256_sub_ps(_mm256_loadu_ps(x + i), max));
    const __m256 b = exp_avx2(_mm256_sub_ps(_mm256_loadu_ps(x + i + 8), max));
    sum0 = _mm256_add_ps(sum0, a);
    sum1 = _mm256_add_ps(sum1, b);
    _mm256_storeu_ps(y + i, a);
    _mm256_storeu_ps(y + i + 8, b);
  }
  for (; i < size; i += 8) {
    const __m256 a = exp_avx2(_mm256_sub_ps(load_or_minus_infinity(x + i, size - i), max));
    sum0 = _mm256_add_ps(sum0, a);
    store_avx2(y + i, size - i, a);
  }

  const float sum = reduce_add_avx2(_mm256_add_ps(sum0, sum1));
  const __m256 scale = _mm256_set1_ps(sum == 0.0f ? 0.0f : 1.0f / sum);
  for (i = 0; i < size; i += 8) {
    store_avx2(y + i, size - i, _mm256_mul_ps(load_avx2(y + i, size - i), scale));
  }
}

const SoftmaxKernel kSoftmaxAvx2 = {"avx2", Isa{Isa::kAvx2}, row_avx2};

}  // namespace lanner
