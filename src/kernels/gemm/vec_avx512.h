// SPDX-License-Identifier: Apache-2.0
// Sixteen lanes for AVX-512: the vocabulary of plain_tiles.h and int_tiles.h. One register a panel.
#pragma once

#include <cstddef>
#include <cstdint>

#include <immintrin.h>

#include "kernels/gemm/kernels.h"

namespace lanner {
namespace {

// A panel is kParts registers of kLanes rows.
constexpr int kLanes = 16;
constexpr int kParts = 1;

// Plain register types: of structs around them g++ keeps copies in memory.
using VecF = __m512;
using VecI = __m512i;
using VecW = __m512i;  // 16 rows x 4 uint8
using VecX = __m512i;  // 4 int8, broadcast

static inline VecF zero_f() { return _mm512_setzero_ps(); }
static inline VecF load_f(const float* p) { return _mm512_loadu_ps(p); }
static inline void store_f(float* p, VecF a) { _mm512_store_ps(p, a); }
static inline VecF broadcast_f(const float* p) { return _mm512_set1_ps(*p); }
static inline VecF fma(VecF a, VecF b, VecF c) { return _mm512_fmadd_ps(a, b, c); }
static inline VecF mul(VecF a, VecF b) { return _mm512_mul_ps(a, b); }

static inline VecF load_fp16(const std::byte* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
// kLanes x 2 bf16
static inline void load_bf16_pairs(const std::byte* p, VecF& even, VecF& odd) {
  const __m512i raw = _mm512_loadu_si512(p);
  even = _mm512_castsi512_ps(_mm512_slli_epi32(raw, 16));
  odd = _mm512_castsi512_ps(_mm512_and_si512(raw, _mm512_set1_epi32(-65536)));
}
static inline VecF load_int8_as_f(const std::byte* p) {
  return _mm512_cvtepi32_ps(
      _mm512_cvtepi8_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(p))));
}

static inline VecI broadcast_i(const int32_t* p) { return _mm512_set1_epi32(*p); }
static inline VecI load_i(const float* p) { return _mm512_loadu_si512(p); }
static inline void store_i(float* p, VecI a) { _mm512_store_si512(p, a); }
static inline VecF to_f(VecI a) { return _mm512_cvtepi32_ps(a); }

static inline VecW load_w8(const std::byte* p) { return _mm512_loadu_si512(p); }
static inline void store_w8(std::byte* p, VecW a) { _mm512_store_si512(p, a); }
// The low (half 0) or high nibbles.
static inline VecW load_w4(const std::byte* p, int half) {
  const __m512i raw = _mm512_loadu_si512(p);
  return _mm512_and_si512(half == 0 ? raw : _mm512_srli_epi16(raw, 4), _mm512_set1_epi8(15));
}
static inline VecX broadcast_x(const int8_t* p) {
  int32_t four;
  __builtin_memcpy(&four, p, sizeof four);
  return _mm512_set1_epi32(four);
}

// acc + the four products of each lane, exactly. Seven-bit weights cannot overflow 16 bits.
template <bool kSevenBits>
static inline VecI dot(VecI acc, VecW w, VecX x) {
#if defined(__AVX512VNNI__)
  return _mm512_dpbusd_epi32(acc, w, x);
#else
  if constexpr (kSevenBits) {
    const __m512i pairs = _mm512_maddubs_epi16(w, x);
    return _mm512_add_epi32(acc, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
  } else {
    const __m512i w_even = _mm512_and_si512(w, _mm512_set1_epi16(255));
    const __m512i w_odd = _mm512_srli_epi16(w, 8);
    const __m512i x_even = _mm512_srai_epi16(_mm512_slli_epi16(x, 8), 8);
    const __m512i x_odd = _mm512_srai_epi16(x, 8);
    return _mm512_add_epi32(
        acc, _mm512_add_epi32(_mm512_madd_epi16(w_even, x_even), _mm512_madd_epi16(w_odd, x_odd)));
  }
#endif
}

static inline void prefetch(const std::byte* p) { _mm_prefetch(p, _MM_HINT_T0); }
static inline void prefetch_l2(const std::byte* p) { _mm_prefetch(p, _MM_HINT_T1); }

// Register blocks, rows x panels: 32 registers hold 24 accumulators, or 12 pairs of them where a
// group's integer sum stands beside the running one.
constexpr int kTileRows = 8;
constexpr int kTilePanels = 3;
constexpr int kGroupTileRows = 4;
constexpr int kGroupTilePanels = 3;
// Rows up to which nibbles are multiplied straight from packed weights: the pipes that part them
// are not those that multiply.
constexpr int kDirectNibbleRows = kAllRows;
// Panels side by side for few rows: each is a stream for the prefetchers, and eight are wanted.
constexpr int kWideRows = 4;
constexpr int wide_panels(int rows) { return rows <= 3 ? 8 : 6; }
constexpr int wide_group_panels(int rows) {
  return rows == 1 ? 8 : rows == 2 ? 6 : rows == 3 ? 4 : 3;
}

}  // namespace
}  // namespace lanner
