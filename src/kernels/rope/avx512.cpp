// SPDX-License-Identifier: Apache-2.0
#include "kernels/rope/kernels.h"
#include "kernels/vector_math_avx512.h"

namespace lanner {

static void halves_avx512(float* x, const float* cos, const float* sin, int pairs) {
  for (int i = 0; i < pairs; i += 16) {
    const int left = pairs - i;
    const __m512 a = load_avx512(x + i, left), b = load_avx512(x + pairs + i, left);
    const __m512 c = load_avx512(cos + i, left), s = load_avx512(sin + i, left);
    store_avx512(x + i, left, _mm512_fmsub_ps(a, c, _mm512_mul_ps(b, s)));
    store_avx512(x + pairs + i, left, _mm512_fmadd_ps(b, c, _mm512_mul_ps(a, s)));
  }
}

static void pairs_avx512(float* x, const float* cos, const float* sin, int pairs) {
  const __m512i twice = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
  for (int i = 0; i < pairs; i += 8) {
    const int left = pairs - i;
    const __m512 ab = load_avx512(x + 2 * i, 2 * left);
    const __mmask16 mask = tail_mask_avx512(left < 8 ? left : 8);
    const __m512 c = _mm512_permutexvar_ps(twice, _mm512_maskz_loadu_ps(mask, cos + i));
    const __m512 s = _mm512_permutexvar_ps(twice, _mm512_maskz_loadu_ps(mask, sin + i));
    const __m512 ba = _mm512_permute_ps(ab, 0xb1);
    store_avx512(x + 2 * i, 2 * left, _mm512_fmaddsub_ps(ab, c, _mm512_mul_ps(ba, s)));
  }
}

const RopeKernel kRopeAvx512 = {"avx512", Isa{Isa::kAvx512}, {halves_avx512, pairs_avx512}};

}  // namespace lanner
