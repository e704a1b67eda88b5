// SPDX-License-Identifier: Apache-2.0
#include "kernels/rope/kernels.h"
#include "kernels/vector_math_avx2.h"

namespace lanner {

static void halves_avx2(float* x, const float* cos, const float* sin, int pairs) {
  for (int i = 0; i < pairs; i += 8) {
    const int left = pairs - i;
    const __m256 a = load_avx2(x + i, left), b = load_avx2(x + pairs + i, left);
    const __m256 c = load_avx2(cos + i, left), s = load_avx2(sin + i, left);
    store_avx2(x + i, left, _mm256_fmsub_ps(a, c, _mm256_mul_ps(b, s)));
    store_avx2(x + pairs + i, left, _mm256_fmadd_ps(b, c, _mm256_mul_ps(a, s)));
  }
}

static void pairs_avx2(float* x, const float* cos, const float* sin, int pairs) {
  const __m256i twice = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
  for (int i = 0; i < pairs; i += 4) {
    const int left = pairs - i;
    const __m256 ab = load_avx2(x + 2 * i, 2 * left);
    const __m256i mask = tail_mask_avx2(left < 4 ? left : 4);
    const __m256 c = _mm256_permutevar8x32_ps(_mm256_maskload_ps(cos + i, mask), twice);
    const __m256 s = _mm256_permutevar8x32_ps(_mm256_maskload_ps(sin + i, mask), twice);
    const __m256 ba = _mm256_permute_ps(ab, 0xb1);
    store_avx2(x + 2 * i, 2 * left, _mm256_fmaddsub_ps(ab, c, _mm256_mul_ps(ba, s)));
  }
}

const RopeKernel kRopeAvx2 = {"avx2", Isa{Isa::kAvx2}, {halves_avx2, pairs_avx2}};

}  // namespace lanner
