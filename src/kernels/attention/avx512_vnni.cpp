// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention/int8_dot.h"
#include "kernels/attention/softmax_avx512.h"
#include "kernels/hadamard_avx512.h"
#include "kernels/vector_math_avx512.h"

namespace lanner {
namespace {

struct Vec {
  using Int = __m512i;
  static constexpr int kLanes = 16;
  static constexpr int kScoreRows = 12;
  static constexpr int kValueRows = 6;

  static Int zero() { return _mm512_setzero_si512(); }
  static Int load(const std::byte* p) { return _mm512_loadu_si512(p); }
  static Int load(const std::byte* p, int left) {
    return _mm512_maskz_loadu_epi32(tail_mask_avx512(left), p);
  }
  static Int broadcast(int32_t x) { return _mm512_set1_epi32(x); }
  static Int add(Int a, Int b) { return _mm512_add_epi32(a, b); }
  // sum += the products of unsigned and signed bytes. In assembly: g++ 12 copies each accumulator
  // of the intrinsic to and fro, which takes as long as the products.
  static void dot(Int& sum, Int u, Int s) {
    __asm__("vpdpbusd %[s], %[u], %[sum]" : [sum] "+v"(sum) : [u] "v"(u), [s] "v"(s));
  }
  static void fetch(const std::byte* p) {
    _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1);
  }

  static __m512 broadcast(float x) { return _mm512_set1_ps(x); }
  static __m512 to_floats(Int x) { return _mm512_cvtepi32_ps(x); }
  static __m512 load_floats(const float* p) { return _mm512_loadu_ps(p); }
  static __m512 mul(__m512 a, __m512 b) { return _mm512_mul_ps(a, b); }
  static __m512 fma(__m512 a, __m512 b, __m512 c) { return _mm512_fmadd_ps(a, b, c); }
  static void store(float* p, __m512 x) { _mm512_storeu_ps(p, x); }

  static void rotate(float* x, int n) { hadamard_avx512(x, n); }
  static int round(float x) { return _mm_cvtss_si32(_mm_set_ss(x)); }
  static int32_t largest_bits(const float* x, int n) {
    __m512i largest = _mm512_setzero_si512();
    for (int d = 0; d < n; d += 16) {
      const __m512 magnitude = _mm512_abs_ps(load_avx512(x + d, n - d));
      largest = _mm512_max_epi32(largest, _mm512_castps_si512(magnitude));
    }
    return _mm512_reduce_max_epi32(largest);
  }
};

void scores(const std::byte* queries, int rows, int head_dim, const std::byte* const* k_panels,
            int num_panels, float* tile) {
  using Fn = void (*)(const std::byte*, int, const std::byte* const*, int, float*);
  static constexpr Fn kByRows[Vec::kScoreRows] = {
      int8_scores_of_rows<Vec, 1>,  int8_scores_of_rows<Vec, 2>,  int8_scores_of_rows<Vec, 3>,
      int8_scores_of_rows<Vec, 4>,  int8_scores_of_rows<Vec, 5>,  int8_scores_of_rows<Vec, 6>,
      int8_scores_of_rows<Vec, 7>,  int8_scores_of_rows<Vec, 8>,  int8_scores_of_rows<Vec, 9>,
      int8_scores_of_rows<Vec, 10>, int8_scores_of_rows<Vec, 11>, int8_scores_of_rows<Vec, 12>,
  };
  kByRows[rows - 1](queries, head_dim, k_panels, num_panels, tile);
}

void merge(float* x, float x_factor, const float* y, float y_factor, int64_t n) {
  const __m512 xs = _mm512_set1_ps(x_factor);
  const __m512 ys = _mm512_set1_ps(y_factor);
  for (int64_t i = 0; i < n; i += 16) {
    const __m512 scaled = _mm512_mul_ps(_mm512_loadu_ps(x + i), xs);
    _mm512_storeu_ps(x + i, _mm512_fmadd_ps(_mm512_loadu_ps(y + i), ys, scaled));
  }
}

}  // namespace

const AttentionKernel kAttentionAvx512Vnni[1] = {
    {"avx512_vnni", DType::kI8, Isa{Isa::kAvx512, Isa::kAvx512Vnni}, Vec::kScoreRows,
     AttentionWeights::kFixed16, int8_pack<Vec>, scores, softmax_avx512<AttentionWeights::kFixed16>,
     int8_values<Vec>, merge},
};

}  // namespace lanner
