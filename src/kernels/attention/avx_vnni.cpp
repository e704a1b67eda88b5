// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention/int8_dot.h"
#include "kernels/attention/softmax_avx2.h"
#include "kernels/hadamard_avx2.h"
#include "kernels/vector_math_avx2.h"

namespace lanner {
namespace {

struct Vec {
  using Int = __m256i;
  static constexpr int kLanes = 8;
  static constexpr int kScoreRows = 6;
  static constexpr int kValueRows = 3;

  static Int zero() { return _mm256_setzero_si256(); }
  static Int load(const std::byte* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static Int load(const std::byte* p, int left) {
    if (left >= kLanes) return load(p);
    return _mm256_maskload_epi32(reinterpret_cast<const int*>(p), tail_mask_avx2(left));
  }
  static Int broadcast(int32_t x) { return _mm256_set1_epi32(x); }
  static Int add(Int a, Int b) { return _mm256_add_epi32(a, b); }
  // sum += the products of unsigned and signed bytes. In assembly: g++ 12 copies each accumulator
  // of the intrinsic to and fro, which takes as long as the products.
  static void dot(Int& sum, Int u, Int s) {
    __asm__("%{vex%} vpdpbusd %[s], %[u], %[sum]" : [sum] "+x"(sum) : [u] "x"(u), [s] "x"(s));
  }
  static void fetch(const std::byte* p) {
    _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1);
  }

  static __m256 broadcast(float x) { return _mm256_set1_ps(x); }
  static __m256 to_floats(Int x) { return _mm256_cvtepi32_ps(x); }
  static __m256 load_floats(const float* p) { return _mm256_loadu_ps(p); }
  static __m256 mul(__m256 a, __m256 b) { return _mm256_mul_ps(a, b); }
  static __m256 fma(__m256 a, __m256 b, __m256 c) { return _mm256_fmadd_ps(a, b, c); }
  static void store(float* p, __m256 x) { _mm256_storeu_ps(p, x); }

  static void rotate(float* x, int n) { hadamard_avx2(x, n); }
  static int round(float x) { return _mm_cvtss_si32(_mm_set_ss(x)); }
  static int32_t largest_bits(const float* x, int n) {
    __m256i largest = _mm256_setzero_si256();
    for (int d = 0; d < n; d += 8) {
      const __m256i bits = _mm256_castps_si256(load_avx2(x + d, n - d));
      largest = _mm256_max_epi32(largest, _mm256_and_si256(bits, _mm256_set1_epi32(0x7fffffff)));
    }
    __m128i max =
        _mm_max_epi32(_mm256_castsi256_si128(largest), _mm256_extracti128_si256(largest, 1));
    max = _mm_max_epi32(max, _mm_shuffle_epi32(max, 0x4e));
    max = _mm_max_epi32(max, _mm_shuffle_epi32(max, 0xb1));
    return _mm_cvtsi128_si32(max);
  }
};

void scores(const std::byte* queries, int rows, int head_dim, const std::byte* const* k_panels,
            int num_panels, float* tile) {
  using Fn = void (*)(const std::byte*, int, const std::byte* const*, int, float*);
  static constexpr Fn kByRows[Vec::kScoreRows] = {
      int8_scores_of_rows<Vec, 1>, int8_scores_of_rows<Vec, 2>, int8_scores_of_rows<Vec, 3>,
      int8_scores_of_rows<Vec, 4>, int8_scores_of_rows<Vec, 5>, int8_scores_of_rows<Vec, 6>,
  };
  kByRows[rows - 1](queries, head_dim, k_panels, num_panels, tile);
}

void merge(float* x, float x_factor, const float* y, float y_factor, int64_t n) {
  const __m256 xs = _mm256_set1_ps(x_factor);
  const __m256 ys = _mm256_set1_ps(y_factor);
  for (int64_t i = 0; i < n; i += 8) {
    const __m256 scaled = _mm256_mul_ps(_mm256_loadu_ps(x + i), xs);
    _mm256_storeu_ps(x + i, _mm256_fmadd_ps(_mm256_loadu_ps(y + i), ys, scaled));
  }
}

}  // namespace

const AttentionKernel kAttentionAvxVnni[1] = {
    {"avx_vnni", DType::kI8, Isa{Isa::kAvx2, Isa::kAvxVnni}, Vec::kScoreRows,
     AttentionWeights::kFixed16, int8_pack<Vec>, scores, softmax_avx2<AttentionWeights::kFixed16>,
     int8_values<Vec>, merge},
};

}  // namespace lanner
