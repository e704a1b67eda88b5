// SPDX-License-Identifier: Apache-2.0
// The orthonormal Hadamard transform that an int8 KV cache rotates K and the queries by: it spreads
// K's outlier channels over all of a head, and leaves q . k as it is (QuaRot, arXiv 2404.00456;
// used there for weights and caches, here for the cache alone). A width that is no power of two is
// rotated in blocks: the powers of two that it is the sum of, largest first.
//
// Static, so that every object keeps its own copy (an ISA file must export nothing but its table).
#pragma once

#include <cmath>

namespace lanner {

// The largest power of two that is at most n > 0.
static inline int hadamard_block(int n) {
  int block = 1;
  while (block * 2 <= n) block *= 2;
  return block;
}

// x[n] in place.
static inline void hadamard(float* x, int n) {
  while (n > 0) {
    const int block = hadamard_block(n);
    for (int half = block / 2; half > 0; half /= 2) {
      for (int base = 0; base < block; base += 2 * half) {
        for (int i = base; i < base + half; ++i) {
          const float a = x[i], b = x[i + half];
          x[i] = a + b;
          x[i + half] = a - b;
        }
      }
    }
    const float norm = 1.0f / std::sqrt(static_cast<float>(block));
    for (int i = 0; i < block; ++i) x[i] *= norm;
    x += block;
    n -= block;
  }
}

}  // namespace lanner
