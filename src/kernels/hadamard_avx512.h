// SPDX-License-Identifier: Apache-2.0
// The transform of hadamard.h in the same order of operations. Static, as all of an ISA file.
#pragma once

#include "kernels/hadamard.h"
#include "kernels/vector_math_avx512.h"

namespace lanner {

// The stages within `block` <= 16 lanes: each adds the partner, subtracts in the upper half.
static inline __m512 hadamard_lanes_avx512(__m512 x, int block) {
  const __m512 minus = _mm512_set1_ps(-1.0f);
  const __m512 plus = _mm512_set1_ps(1.0f);
  if (block >= 16) {
    const __m512 sign = _mm512_mask_mov_ps(plus, 0xff00, minus);
    x = _mm512_fmadd_ps(x, sign, _mm512_shuffle_f32x4(x, x, 0x4e));
  }
  if (block >= 8) {
    const __m512 sign = _mm512_mask_mov_ps(plus, 0xf0f0, minus);
    x = _mm512_fmadd_ps(x, sign, _mm512_shuffle_f32x4(x, x, 0xb1));
  }
  if (block >= 4) {
    const __m512 sign = _mm512_mask_mov_ps(plus, 0xcccc, minus);
    x = _mm512_fmadd_ps(x, sign, _mm512_permute_ps(x, 0x4e));
  }
  if (block >= 2) {
    const __m512 sign = _mm512_mask_mov_ps(plus, 0xaaaa, minus);
    x = _mm512_fmadd_ps(x, sign, _mm512_permute_ps(x, 0xb1));
  }
  return x;
}

// x[n] in place.
static inline void hadamard_avx512(float* x, int n) {
  while (n > 0) {
    const int block = hadamard_block(n);
    for (int half = block / 2; half >= 16; half /= 2) {
      for (int base = 0; base < block; base += 2 * half) {
        for (int i = base; i < base + half; i += 16) {
          const __m512 a = _mm512_loadu_ps(x + i);
          const __m512 b = _mm512_loadu_ps(x + i + half);
          _mm512_storeu_ps(x + i, _mm512_add_ps(a, b));
          _mm512_storeu_ps(x + i + half, _mm512_sub_ps(a, b));
        }
      }
    }
    const __m512 norm = _mm512_div_ps(_mm512_set1_ps(1.0f),
                                      _mm512_sqrt_ps(_mm512_set1_ps(static_cast<float>(block))));
    for (int i = 0; i < block; i += 16) {
      const __m512 rotated = hadamard_lanes_avx512(load_avx512(x + i, block - i), block);
      store_avx512(x + i, block - i, _mm512_mul_ps(rotated, norm));
    }
    x += block;
    n -= block;
  }
}

}  // namespace lanner
