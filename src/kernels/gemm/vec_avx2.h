// SPDX-License-Identifier: Apache-2.0
// Sixteen lanes for AVX2 and AVX-VNNI: the vocabulary of plain_tiles.h and int_tiles.h. Two
// registers a panel.
#pragma once

#include <cstddef>
#include <cstdint>

#include <immintrin.h>

#include "kernels/gemm/kernels.h"

namespace lanner {
namespace {

// A panel is kParts registers of kLanes rows.
constexpr int kLanes = 8;
constexpr int kParts = 2;

// Plain register types: of structs around them g++ keeps copies in memory.
using VecF = __m256;
using VecI = __m256i;
using VecW = __m256i;  // 8 rows x 4 uint8
using VecX = __m256i;  // 4 int8, broadcast

static inline const __m256i* as_m256i(const void* p) { return static_cast<const __m256i*>(p); }

static inline VecF zero_f() { return _mm256_setzero_ps(); }
static inline VecF load_f(const float* p) { return _mm256_loadu_ps(p); }
static inline void store_f(float* p, VecF a) { _mm256_store_ps(p, a); }
static inline VecF broadcast_f(const float* p) { return _mm256_broadcast_ss(p); }
static inline VecF fma(VecF a, VecF b, VecF c) { return _mm256_fmadd_ps(a, b, c); }
static inline VecF mul(VecF a, VecF b) { return _mm256_mul_ps(a, b); }

static inline VecF load_fp16(const std::byte* p) {
  return _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(p)));
}
// kLanes x 2 bf16
static inline void load_bf16_pairs(const std::byte* p, VecF& even, VecF& odd) {
  const __m256i raw = _mm256_loadu_si256(as_m256i(p));
  even = _mm256_castsi256_ps(_mm256_slli_epi32(raw, 16));
  odd = _mm256_castsi256_ps(_mm256_and_si256(raw, _mm256_set1_epi32(-65536)));
}
static inline VecF load_int8_as_f(const std::byte* p) {
  return _mm256_cvtepi32_ps(
      _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}

static inline VecI broadcast_i(const int32_t* p) { return _mm256_set1_epi32(*p); }
static inline VecI load_i(const float* p) { return _mm256_loadu_si256(as_m256i(p)); }
static inline void store_i(float* p, VecI a) {
  _mm256_store_si256(reinterpret_cast<__m256i*>(p), a);
}
static inline VecF to_f(VecI a) { return _mm256_cvtepi32_ps(a); }

static inline VecW load_w8(const std::byte* p) { return _mm256_loadu_si256(as_m256i(p)); }
static inline void store_w8(std::byte* p, VecW a) {
  _mm256_store_si256(reinterpret_cast<__m256i*>(p), a);
}
// The low (half 0) or high nibbles.
static inline VecW load_w4(const std::byte* p, int half) {
  const __m256i raw = _mm256_loadu_si256(as_m256i(p));
  return _mm256_and_si256(half == 0 ? raw : _mm256_srli_epi16(raw, 4), _mm256_set1_epi8(15));
}
static inline VecX broadcast_x(const int8_t* p) {
  int32_t four;
  __builtin_memcpy(&four, p, sizeof four);
  return _mm256_set1_epi32(four);
}

// acc + the four products of each lane, exactly. Seven-bit weights cannot overflow 16 bits.
template <bool kSevenBits>
static inline VecI dot(VecI acc, VecW w, VecX x) {
#if defined(__AVXVNNI__)
  return _mm256_dpbusd_avx_epi32(acc, w, x);
#else
  if constexpr (kSevenBits) {
    const __m256i pairs = _mm256_maddubs_epi16(w, x);
    return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  } else {
    const __m256i w_even = _mm256_and_si256(w, _mm256_set1_epi16(255));
    const __m256i w_odd = _mm256_srli_epi16(w, 8);
    const __m256i x_even = _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8);
    const __m256i x_odd = _mm256_srai_epi16(x, 8);
    return _mm256_add_epi32(
        acc, _mm256_add_epi32(_mm256_madd_epi16(w_even, x_even), _mm256_madd_epi16(w_odd, x_odd)));
  }
#endif
}

static inline void prefetch(const std::byte* p) { _mm_prefetch(p, _MM_HINT_T0); }
static inline void prefetch_l2(const std::byte* p) { _mm_prefetch(p, _MM_HINT_T1); }

// Register blocks, rows x panels, for 16 registers.
constexpr int kTileRows = 6;
constexpr int kTilePanels = 1;
constexpr int kGroupTileRows = 3;
constexpr int kGroupTilePanels = 1;
// Rows up to which nibbles are multiplied straight from packed weights.
constexpr int kDirectNibbleRows = 16;
constexpr int kWideRows = 2;
constexpr int wide_panels(int rows) { return rows == 1 ? 6 : 3; }
constexpr int wide_group_panels(int rows) { return rows == 1 ? 3 : 1; }

}  // namespace
}  // namespace lanner
