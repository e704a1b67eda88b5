// SPDX-License-Identifier: Apache-2.0
// The transform of hadamard.h in the same order of operations. Static, as all of an ISA file.
#pragma once

#include "kernels/hadamard.h"
#include "kernels/vector_math_avx2.h"

namespace lanner {

// The stages within `block` <= 8 lanes: each adds the partner, subtracts in the upper half.
static inline __m256 hadamard_lanes_avx2(__m256 x, int block) {
  if (block >= 8) {
    const __m256 sign = _mm256_setr_ps(1, 1, 1, 1, -1, -1, -1, -1);
    x = _mm256_fmadd_ps(x, sign, _mm256_permute2f128_ps(x, x, 0x01));
  }
  if (block >= 4) {
    const __m256 sign = _mm256_setr_ps(1, 1, -1, -1, 1, 1, -1, -1);
    x = _mm256_fmadd_ps(x, sign, _mm256_permute_ps(x, 0x4e));
  }
  if (block >= 2) {
    const __m256 sign = _mm256_setr_ps(1, -1, 1, -1, 1, -1, 1, -1);
    x = _mm256_fmadd_ps(x, sign, _mm256_permute_ps(x, 0xb1));
  }
  return x;
}

// x[n] in place.
static inline void hadamard_avx2(float* x, int n) {
  while (n > 0) {
    const int block = hadamard_block(n);
    for (int half = block / 2; half >= 8; half /= 2) {
      for (int base = 0; base < block; base += 2 * half) {
        for (int i = base; i < base + half; i += 8) {
          const __m256 a = _mm256_loadu_ps(x + i);
          const __m256 b = _mm256_loadu_ps(x + i + half);
          _mm256_storeu_ps(x + i, _mm256_add_ps(a, b));
          _mm256_storeu_ps(x + i + half, _mm256_sub_ps(a, b));
        }
      }
    }
    const __m256 norm = _mm256_div_ps(_mm256_set1_ps(1.0f),
                                      _mm256_sqrt_ps(_mm256_set1_ps(static_cast<float>(block))));
    for (int i = 0; i < block; i += 8) {
      const __m256 rotated = hadamard_lanes_avx2(load_avx2(x + i, block - i), block);
      store_avx2(x + i, block - i, _mm256_mul_ps(rotated, norm));
    }
    x += block;
    n -= block;
  }
}

}  // namespace lanner
