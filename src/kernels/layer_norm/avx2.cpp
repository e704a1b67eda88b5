// SPDX-License-Identifier: Apache-2.0
#include "kernels/layer_norm/kernels.h"
#include "kernels/vector_math_avx2.h"

namespace lanner {

// Zero past the end, so that the tail does not count in the sum of squares.
static __m256 distance_from_mean(const float* x, int left, __m256 mean) {
  const __m256 distance = _mm256_sub_ps(load_avx2(x, left), mean);
  return left >= 8 ? distance : _mm256_and_ps(distance, _mm256_castsi256_ps(tail_mask_avx2(left)));
}

static void row_avx2(const float* x, const float* weight, const float* bias, float epsilon,
                     int size, float* y) {
  // Mean first, then the squared distances from it: sum(x^2) - mean^2 would cancel.
  __m256 sum0 = _mm256_setzero_ps();
  __m256 sum1 = _mm256_setzero_ps();
  int i = 0;
  for (; i + 2 * 8 <= size; i += 2 * 8) {
    sum0 = _mm256_add_ps(sum0, _mm256_loadu_ps(x + i));
    sum1 = _mm256_add_ps(sum1, _mm256_loadu_ps(x + i + 8));
  }
  for (; i < size; i += 8) sum0 = _mm256_add_ps(sum0, load_avx2(x + i, size - i));
  const float count = static_cast<float>(size);
  const __m256 mean = _mm256_set1_ps(reduce_add_avx2(_mm256_add_ps(sum0, sum1)) / count);

  sum0 = sum1 = _mm256_setzero_ps();
  for (i = 0; i + 2 * 8 <= size; i += 2 * 8) {
    const __m256 a = _mm256_sub_ps(_mm256_loadu_ps(x + i), mean);
    const __m256 b = _mm256_sub_ps(_mm256_loadu_ps(x + i + 8), mean);
    sum0 = _mm256_fmadd_ps(a, a, sum0);
    sum1 = _mm256_fmadd_ps(b, b, sum1);
  }
  for (; i < size; i += 8) {
    const __m256 a = distance_from_mean(x + i, size - i, mean);
    sum0 = _mm256_fmadd_ps(a, a, sum0);
  }
  const float variance = reduce_add_avx2(_mm256_add_ps(sum0, sum1)) / count;
  const __m256 scale = _mm256_set1_ps(1.0f / __builtin_sqrtf(variance + epsilon));

  for (i = 0; i < size; i += 8) {
    __m256 a = _mm256_mul_ps(distance_from_mean(x + i, size - i, mean), scale);
    if (weight != nullptr) a = _mm256_mul_ps(a, load_avx2(weight + i, size - i));
    if (bias != nullptr) a = _mm256_add_ps(a, load_avx2(bias + i, size - i));
    store_avx2(y + i, size - i, a);
  }
}

const LayerNormKernel kLayerNormAvx2 = {"avx2", Isa{Isa::kAvx2}, row_avx2};

}  // namespace lanner
