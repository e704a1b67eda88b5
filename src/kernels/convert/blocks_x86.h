// SPDX-License-Identifier: Apache-2.0
// Dequantisation of the block types for AVX2 and up. Elements are unpacked 16 at a time to int8;
// the including file brings the widening, in the widest vectors of its ISA:
//
//   static inline void scale16(__m128i q, float d, float* y);            y = d * q
//   static inline void affine16(__m128i q, float d, float m, float* y);  y = d * q + m
//
// Everything is static: each ISA file has its own copy.
#pragma once

#include <cstdint>

#include <immintrin.h>

#include "kernels/convert/blocks.h"
#include "kernels/convert/kernels.h"

namespace lanner {

static inline void scale16(__m128i q, float d, float* y);
static inline void affine16(__m128i q, float d, float m, float* y);

static inline float half(const uint8_t* bytes) { return _cvtsh_ss(block_half(bytes)); }

static inline __m128i load16(const uint8_t* bytes) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
}

// The low and the high nibble of 16 bytes.
static inline __m128i low_nibbles(__m128i bytes) { return _mm_and_si128(bytes, _mm_set1_epi8(15)); }
static inline __m128i high_nibbles(__m128i bytes) { return low_nibbles(_mm_srli_epi16(bytes, 4)); }

// Bits [2 * shift, 2 * shift + 2) of 16 bytes.
static inline __m128i two_bits(__m128i bytes, int shift) {
  return _mm_and_si128(_mm_srl_epi16(bytes, _mm_cvtsi32_si128(2 * shift)), _mm_set1_epi8(3));
}

// Where bit `index` of a byte is set, `value`; else 0.
static inline __m128i if_bit(__m128i bytes, int index, int value) {
  const __m128i mask = _mm_set1_epi8(static_cast<char>(1 << index));
  const __m128i set = _mm_cmpeq_epi8(_mm_and_si128(bytes, mask), mask);
  return _mm_and_si128(set, _mm_set1_epi8(static_cast<char>(value)));
}

// 16 bits, one per byte: 16 where set.
static inline __m128i bit4_of(const uint8_t* two_bytes) {
  const __m128i repeat = _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
  const __m128i select = _mm_setr_epi8(1, 2, 4, 8, 16, 32, 64, -128, 1, 2, 4, 8, 16, 32, 64, -128);
  const __m128i spread = _mm_shuffle_epi8(_mm_cvtsi32_si128(block_half(two_bytes)), repeat);
  const __m128i set = _mm_cmpeq_epi8(_mm_and_si128(spread, select), select);
  return _mm_and_si128(set, _mm_set1_epi8(16));
}

static inline __m128i minus(__m128i q, int offset) {
  return _mm_sub_epi8(q, _mm_set1_epi8(static_cast<char>(offset)));
}

static inline void dequantize(const BlockQ4_0* block, float* y) {
  const float d = half(block->d);
  const __m128i bytes = load16(block->qs);
  scale16(minus(low_nibbles(bytes), 8), d, y);
  scale16(minus(high_nibbles(bytes), 8), d, y + 16);
}

static inline void dequantize(const BlockQ4_1* block, float* y) {
  const float d = half(block->d);
  const float m = half(block->m);
  const __m128i bytes = load16(block->qs);
  affine16(low_nibbles(bytes), d, m, y);
  affine16(high_nibbles(bytes), d, m, y + 16);
}

static inline void dequantize(const BlockQ5_0* block, float* y) {
  const float d = half(block->d);
  const __m128i bytes = load16(block->qs);
  scale16(minus(_mm_or_si128(low_nibbles(bytes), bit4_of(block->qh)), 16), d, y);
  scale16(minus(_mm_or_si128(high_nibbles(bytes), bit4_of(block->qh + 2)), 16), d, y + 16);
}

static inline void dequantize(const BlockQ5_1* block, float* y) {
  const float d = half(block->d);
  const float m = half(block->m);
  const __m128i bytes = load16(block->qs);
  affine16(_mm_or_si128(low_nibbles(bytes), bit4_of(block->qh)), d, m, y);
  affine16(_mm_or_si128(high_nibbles(bytes), bit4_of(block->qh + 2)), d, m, y + 16);
}

static inline void dequantize(const BlockQ8_0* block, float* y) {
  const float d = half(block->d);
  scale16(load16(block->qs), d, y);
  scale16(load16(block->qs + 16), d, y + 16);
}

static inline void dequantize(const BlockQ2K* block, float* y) {
  const float d = half(block->d);
  const float dmin = half(block->dmin);
  for (int g = 0; g < 16; ++g) {
    const int scale = block->scales[g];
    const __m128i q = two_bits(load16(block->qs + g / 8 * 32 + g % 2 * 16), g / 2 % 4);
    affine16(q, d * static_cast<float>(scale & 15), -(dmin * static_cast<float>(scale >> 4)),
             y + g * 16);
  }
}

static inline void dequantize(const BlockQ3K* block, float* y) {
  const float d = half(block->d);
  for (int g = 0; g < 16; ++g) {
    const __m128i low = two_bits(load16(block->qs + g / 8 * 32 + g % 2 * 16), g / 2 % 4);
    const __m128i high = if_bit(load16(block->hmask + g % 2 * 16), g / 2, 4);
    scale16(minus(_mm_or_si128(low, high), 4), d * static_cast<float>(q3k_scale(block->scales, g)),
            y + g * 16);
  }
}

static inline void dequantize(const BlockQ4K* block, float* y) {
  const float d = half(block->d);
  const float dmin = half(block->dmin);
  for (int g = 0; g < 8; g += 2) {
    const float d0 = d * static_cast<float>(q4k_scale(block->scales, g));
    const float d1 = d * static_cast<float>(q4k_scale(block->scales, g + 1));
    const float m0 = -(dmin * static_cast<float>(q4k_min(block->scales, g)));
    const float m1 = -(dmin * static_cast<float>(q4k_min(block->scales, g + 1)));
    for (int l = 0; l < 32; l += 16) {
      const __m128i bytes = load16(block->qs + g * 16 + l);
      affine16(low_nibbles(bytes), d0, m0, y + g * 32 + l);
      affine16(high_nibbles(bytes), d1, m1, y + g * 32 + 32 + l);
    }
  }
}

static inline void dequantize(const BlockQ5K* block, float* y) {
  const float d = half(block->d);
  const float dmin = half(block->dmin);
  for (int g = 0; g < 8; g += 2) {
    const float d0 = d * static_cast<float>(q4k_scale(block->scales, g));
    const float d1 = d * static_cast<float>(q4k_scale(block->scales, g + 1));
    const float m0 = -(dmin * static_cast<float>(q4k_min(block->scales, g)));
    const float m1 = -(dmin * static_cast<float>(q4k_min(block->scales, g + 1)));
    for (int l = 0; l < 32; l += 16) {
      const __m128i bytes = load16(block->qs + g * 16 + l);
      const __m128i high = load16(block->qh + l);
      affine16(_mm_or_si128(low_nibbles(bytes), if_bit(high, g, 16)), d0, m0, y + g * 32 + l);
      affine16(_mm_or_si128(high_nibbles(bytes), if_bit(high, g + 1, 16)), d1, m1,
               y + g * 32 + 32 + l);
    }
  }
}

static inline void dequantize(const BlockQ6K* block, float* y) {
  const float d = half(block->d);
  for (int g = 0; g < 16; ++g) {
    const __m128i bytes = load16(block->ql + g / 8 * 64 + g % 4 * 16);
    const __m128i low = g / 4 % 2 == 0 ? low_nibbles(bytes) : high_nibbles(bytes);
    const __m128i high = two_bits(load16(block->qh + g / 8 * 32 + g % 2 * 16), g / 2 % 4);
    scale16(minus(_mm_or_si128(low, _mm_slli_epi16(high, 4)), 32),
            d * static_cast<float>(static_cast<int8_t>(block->scales[g])), y + g * 16);
  }
}

namespace {

template <typename Block, int kElements>
void blocks_row(const void* x, int64_t n, void* y) {
  const Block* in = static_cast<const Block*>(x);
  float* out = static_cast<float*>(y);
  for (int64_t b = 0; b < n / kElements; ++b) dequantize(in + b, out + b * kElements);
}

}  // namespace
}  // namespace lanner

// The rows of a table for every block type.
#define LANNER_BLOCK_KERNELS                                   \
  {DType::kQ4_0, DType::kF32, blocks_row<BlockQ4_0, 32>},      \
      {DType::kQ4_1, DType::kF32, blocks_row<BlockQ4_1, 32>},  \
      {DType::kQ5_0, DType::kF32, blocks_row<BlockQ5_0, 32>},  \
      {DType::kQ5_1, DType::kF32, blocks_row<BlockQ5_1, 32>},  \
      {DType::kQ8_0, DType::kF32, blocks_row<BlockQ8_0, 32>},  \
      {DType::kQ2K, DType::kF32, blocks_row<BlockQ2K, 256>},   \
      {DType::kQ3K, DType::kF32, blocks_row<BlockQ3K, 256>},   \
      {DType::kQ4K, DType::kF32, blocks_row<BlockQ4K, 256>},   \
      {DType::kQ5K, DType::kF32, blocks_row<BlockQ5K, 256>}, { \
    DType::kQ6K, DType::kF32, blocks_row<BlockQ6K, 256>        \
  }
