// SPDX-License-Identifier: Apache-2.0
// The memory layout of ggml's quantisation blocks (ggml/src/ggml-common.h; the PyPI package gguf,
// quants.py). All members are bytes, so that a block may lie at any address. fp16 is little endian.
#pragma once

#include <cstdint>
#include <cstring>

#include "base/float16.h"

namespace lanner {

// y = d * (q - 8). qs[i] holds element i in its low and element i + 16 in its high nibble.
struct BlockQ4_0 {
  uint8_t d[2];  // fp16
  uint8_t qs[16];
};

// y = d * q + m
struct BlockQ4_1 {
  uint8_t d[2];
  uint8_t m[2];
  uint8_t qs[16];
};

// y = d * (q - 16). Bit i of qh is bit 4 of element i.
struct BlockQ5_0 {
  uint8_t d[2];
  uint8_t qh[4];
  uint8_t qs[16];
};

// y = d * q + m
struct BlockQ5_1 {
  uint8_t d[2];
  uint8_t m[2];
  uint8_t qh[4];
  uint8_t qs[16];
};

// y = d * q
struct BlockQ8_0 {
  uint8_t d[2];
  uint8_t qs[32];  // int8
};

// int4g64 and int4g128, of Lanner's own files: y = d * (q - 8). qs[i] holds element i in its low
// and element i + kElements / 2 in its high nibble.
template <int kElements>
struct BlockI4 {
  uint8_t d[2];
  uint8_t qs[kElements / 2];
};

// 16 groups of 16: y = (d * (scales & 15)) * q - dmin * (scales >> 4). Of each half of 128
// elements, qs[l] holds elements l, l + 32, l + 64, l + 96 from its low bits up.
struct BlockQ2K {
  uint8_t scales[16];
  uint8_t qs[64];
  uint8_t d[2];
  uint8_t dmin[2];
};

// 16 groups of 16: y = (d * (scale - 32)) * (q - 4). qs as in q2_k; bit 2 of element g * 32 + l is
// bit g of hmask[l].
struct BlockQ3K {
  uint8_t hmask[32];
  uint8_t qs[64];
  uint8_t scales[12];  // q3k_scale()
  uint8_t d[2];
};

// 8 groups of 32: y = (d * scale) * q - dmin * min. 32 bytes hold the group 2j in their low and the
// group 2j + 1 in their high nibbles.
struct BlockQ4K {
  uint8_t d[2];
  uint8_t dmin[2];
  uint8_t scales[12];  // q4k_scale(), q4k_min()
  uint8_t qs[128];
};

// As q4_k; bit 4 of element g * 32 + l is bit g of qh[l].
struct BlockQ5K {
  uint8_t d[2];
  uint8_t dmin[2];
  uint8_t scales[12];
  uint8_t qh[32];
  uint8_t qs[128];
};

// 16 groups of 16: y = (d * scale) * (q - 32). Of each half of 128 elements, ql[l] holds elements l
// (low) and l + 64 (high nibble) for l < 64; qh[l] holds bits 4 and 5 of l, l + 32, l + 64, l + 96.
struct BlockQ6K {
  uint8_t ql[128];
  uint8_t qh[64];
  uint8_t scales[16];  // int8
  uint8_t d[2];
};

// fp16 bits of a scale.
static inline uint16_t block_half(const uint8_t* bytes) {
  uint16_t bits;
  memcpy(&bits, bytes, sizeof bits);
  return bits;
}

// Scale and minimum of group j < 8, six bits each: the low four (or all six) bits of groups 0..3 in
// bytes 0..3 and 4..7, of groups 4..7 in the nibbles of bytes 8..11 with their upper bits on top of
// bytes 0..7.
static inline int q4k_scale(const uint8_t* scales, int j) {
  return j < 4 ? scales[j] & 63 : (scales[j + 4] & 15) | ((scales[j - 4] >> 6) << 4);
}
static inline int q4k_min(const uint8_t* scales, int j) {
  return j < 4 ? scales[j + 4] & 63 : (scales[j + 4] >> 4) | ((scales[j] >> 6) << 4);
}

// Scale of group j < 16, in -32..31: the low four bits in the nibbles of bytes 0..7, the upper two
// in bytes 8..11.
static inline int q3k_scale(const uint8_t* scales, int j) {
  const int low = j < 8 ? scales[j] & 15 : scales[j - 8] >> 4;
  const int high = (scales[8 + j % 4] >> (2 * (j / 4))) & 3;
  return (low | (high << 4)) - 32;
}

}  // namespace lanner
