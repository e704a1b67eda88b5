// SPDX-License-Identifier: Apache-2.0
// Sixteen lanes for AVX2 and AVX-VNNI: the vocabulary of plain_tiles.h and int_tiles.h. Two
// registers a panel.
#pragma once

#include <cstddef>
#include <cstdint>

#include <immintrin.h>

namespace lanner {
namespace {

struct VecF {
  __m256 a, b;
};
struct VecI {
  __m256i a, b;
};
struct VecW {  // 16 rows x 4 uint8
  __m256i a, b;
};
struct VecX {  // 4 int8, broadcast
  __m256i v;
};

static inline const __m256i* as_m256i(const void* p) { return static_cast<const __m256i*>(p); }

static inline VecF zero_f() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
static inline VecF load_f(const float* p) { return {_mm256_load_ps(p), _mm256_load_ps(p + 8)}; }
static inline void store_f(float* p, VecF v) {
  _mm256_store_ps(p, v.a);
  _mm256_store_ps(p + 8, v.b);
}
static inline VecF broadcast_f(const float* p) {
  const __m256 v = _mm256_broadcast_ss(p);
  return {v, v};
}
static inline VecF fma(VecF x, VecF y, VecF z) {
  return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
static inline VecF mul(VecF x, VecF y) {
  return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
}

static inline VecF load_fp16(const std::byte* p) {
  const auto* q = reinterpret_cast<const __m128i*>(p);
  return {_mm256_cvtph_ps(_mm_load_si128(q)), _mm256_cvtph_ps(_mm_load_si128(q + 1))};
}
// 16 x 2 bf16
static inline void load_bf16_pairs(const std::byte* p, VecF& even, VecF& odd) {
  const __m256i a = _mm256_load_si256(as_m256i(p));
  const __m256i b = _mm256_load_si256(as_m256i(p) + 1);
  const __m256i mask = _mm256_set1_epi32(-65536);
  even.a = _mm256_castsi256_ps(_mm256_slli_epi32(a, 16));
  even.b = _mm256_castsi256_ps(_mm256_slli_epi32(b, 16));
  odd.a = _mm256_castsi256_ps(_mm256_and_si256(a, mask));
  odd.b = _mm256_castsi256_ps(_mm256_and_si256(b, mask));
}
static inline VecF load_int8_as_f(const std::byte* p) {
  const __m128i raw = _mm_load_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(raw)),
          _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(raw, 8)))};
}

static inline VecI broadcast_i(const int32_t* p) {
  const __m256i v = _mm256_set1_epi32(*p);
  return {v, v};
}
static inline VecI load_i(const float* p) {
  return {_mm256_load_si256(as_m256i(p)), _mm256_load_si256(as_m256i(p) + 1)};
}
static inline void store_i(float* p, VecI v) {
  _mm256_store_si256(reinterpret_cast<__m256i*>(p), v.a);
  _mm256_store_si256(reinterpret_cast<__m256i*>(p) + 1, v.b);
}
static inline VecF to_f(VecI v) { return {_mm256_cvtepi32_ps(v.a), _mm256_cvtepi32_ps(v.b)}; }

static inline VecW load_w8(const std::byte* p) {
  return {_mm256_load_si256(as_m256i(p)), _mm256_load_si256(as_m256i(p) + 1)};
}
static inline void store_w8(std::byte* p, VecW v) {
  _mm256_store_si256(reinterpret_cast<__m256i*>(p), v.a);
  _mm256_store_si256(reinterpret_cast<__m256i*>(p) + 1, v.b);
}
static inline void load_w4(const std::byte* p, VecW& low, VecW& high) {
  const VecW raw = load_w8(p);
  const __m256i mask = _mm256_set1_epi8(15);
  low = {_mm256_and_si256(raw.a, mask), _mm256_and_si256(raw.b, mask)};
  high = {_mm256_and_si256(_mm256_srli_epi16(raw.a, 4), mask),
          _mm256_and_si256(_mm256_srli_epi16(raw.b, 4), mask)};
}
static inline VecX broadcast_x(const int8_t* p) {
  int32_t four;
  __builtin_memcpy(&four, p, sizeof four);
  return {_mm256_set1_epi32(four)};
}

template <bool kSevenBits>
static inline __m256i dot8(__m256i acc, __m256i w, __m256i x) {
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

// acc + the four products of each lane, exactly. Seven-bit weights cannot overflow 16 bits.
template <bool kSevenBits>
static inline VecI dot(VecI acc, VecW w, VecX x) {
  return {dot8<kSevenBits>(acc.a, w.a, x.v), dot8<kSevenBits>(acc.b, w.b, x.v)};
}

// Register blocks, rows x panels, for 16 registers.
constexpr int kTileRows = 6;
constexpr int kTilePanels = 1;
constexpr int kGroupTileRows = 3;
constexpr int kGroupTilePanels = 1;
constexpr int kWideRows = 2;
constexpr int wide_panels(int rows) { return rows == 1 ? 6 : 3; }
constexpr int wide_group_panels(int rows) { return rows == 1 ? 3 : 1; }

}  // namespace
}  // namespace lanner
