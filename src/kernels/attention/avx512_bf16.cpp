// SPDX-License-Identifier: Apache-2.0
// bf16 attention on dot products of pairs: queries and softmax numerators in bf16, sums in fp32.
#include "base/kv_layout.h"
#include "kernels/attention/kernels.h"
#include "kernels/attention/softmax_avx512.h"
#include "kernels/hadamard_avx512.h"
#include "kernels/vector_math_avx512.h"

namespace lanner {
namespace {

constexpr int kMaxRows = 12;
constexpr int kPanelTokens = KvLayout::kPanelTokens;
// Rows up to which a tile fetches ahead: more of them come from prefill, whose K and V are in the
// cache already.
constexpr int kFetchRows = 8;
constexpr int kGroupColumns = 32;

void fetch(const std::byte* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1); }

// sum += the products of pairs. In assembly: g++ 12 copies each accumulator of the intrinsic to and
// fro.
void dot(__m512& sum, __m512i a, __m512i b) {
  __asm__("vdpbf16ps %[b], %[a], %[sum]" : [sum] "+v"(sum) : [a] "v"(a), [b] "v"(b));
}

template <int Rows, int Panels>
void scores_of_panels(const int32_t* queries, int head_dim, const std::byte* const* k_panels,
                      float* tile) {
  __m512 sum[Panels][Rows];
#pragma GCC unroll 16
  for (int p = 0; p < Panels; ++p) {
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) sum[p][r] = _mm512_setzero_ps();
  }
  for (int i = 0; i < head_dim / 2; ++i) {
    if constexpr (Rows <= kFetchRows) {
#pragma GCC unroll 16
      for (int p = 0; p < Panels; ++p) fetch(k_panels[p + kAttentionAhead] + i * 64);
    }
    __m512i k[Panels];
#pragma GCC unroll 16
    for (int p = 0; p < Panels; ++p) k[p] = _mm512_loadu_si512(k_panels[p] + i * 64);
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const __m512i q = _mm512_set1_epi32(queries[i * Rows + r]);
#pragma GCC unroll 16
      for (int p = 0; p < Panels; ++p) dot(sum[p][r], k[p], q);
    }
  }
#pragma GCC unroll 16
  for (int p = 0; p < Panels; ++p) {
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      _mm512_storeu_ps(tile + (p * Rows + r) * kPanelTokens, sum[p][r]);
    }
  }
}

template <int Rows>
void scores_of_rows(const int32_t* queries, int head_dim, const std::byte* const* k_panels,
                    int num_panels, float* tile) {
  constexpr int kPanels = Rows <= 3 ? 4 : 2;
  int p = 0;
  for (; p + kPanels <= num_panels; p += kPanels) {
    scores_of_panels<Rows, kPanels>(queries, head_dim, k_panels + p,
                                    tile + int64_t{p} * Rows * kPanelTokens);
  }
  for (; p < num_panels; ++p) {
    scores_of_panels<Rows, 1>(queries, head_dim, k_panels + p,
                              tile + int64_t{p} * Rows * kPanelTokens);
  }
}

void scores(const std::byte* queries, int rows, int head_dim, const std::byte* const* k_panels,
            int num_panels, float* tile) {
  using Fn = void (*)(const int32_t*, int, const std::byte* const*, int, float*);
  static constexpr Fn kByRows[kMaxRows] = {
      scores_of_rows<1>, scores_of_rows<2>,  scores_of_rows<3>,  scores_of_rows<4>,
      scores_of_rows<5>, scores_of_rows<6>,  scores_of_rows<7>,  scores_of_rows<8>,
      scores_of_rows<9>, scores_of_rows<10>, scores_of_rows<11>, scores_of_rows<12>,
  };
  kByRows[rows - 1](reinterpret_cast<const int32_t*>(queries), head_dim, k_panels, num_panels,
                    tile);
}

__mmask32 word_mask(int left) {
  return left >= 32 ? 0xffffffffu : static_cast<__mmask32>((uint32_t{1} << left) - 1);
}

// Two tokens' V, 32 columns, become pairs by unpacking within 128 bits: the sums of columns
// 0-3, 8-11, 16-19, 24-27 lie in one vector (`even`), the others in the second (`odd`).
// `left` columns from `sums` on.
void load_columns(const float* sums, int left, __m512& even_sum, __m512& odd_sum) {
  const __m512 a = _mm512_loadu_ps(sums);
  const __m512 b = left > 16 ? _mm512_loadu_ps(sums + 16) : _mm512_setzero_ps();
  const __m512i even = _mm512_setr_epi32(0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
  const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(4));
  even_sum = _mm512_permutex2var_ps(a, even, b);
  odd_sum = _mm512_permutex2var_ps(a, odd, b);
}

void store_columns(float* sums, int left, __m512 even_sum, __m512 odd_sum) {
  const __m512i a = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
  const __m512i b = _mm512_add_epi32(a, _mm512_set1_epi32(8));
  _mm512_storeu_ps(sums, _mm512_permutex2var_ps(even_sum, a, odd_sum));
  if (left > 16) _mm512_storeu_ps(sums + 16, _mm512_permutex2var_ps(even_sum, b, odd_sum));
}

// Groups of 32 columns from `column` on.
template <int Rows, int Groups>
void values_of_columns(const float* tile, const std::byte* const* v_panels, int first, int last,
                       int v_head_dim, int column, float* sums, int64_t stride) {
  const int left = v_head_dim - column - (Groups - 1) * kGroupColumns;  // of the last group
  const auto left_of = [&](int group) { return group == Groups - 1 ? left : kGroupColumns; };
  __m512 even_sum[Groups][Rows], odd_sum[Groups][Rows];
#pragma GCC unroll 16
  for (int g = 0; g < Groups; ++g) {
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      load_columns(sums + r * stride + column + g * kGroupColumns, left_of(g), even_sum[g][r],
                   odd_sum[g][r]);
    }
  }
  const __mmask32 mask = word_mask(left);
  for (int t = first / 2 * 2; t < last; t += 2) {
    const int panel = t / kPanelTokens, pair = t % kPanelTokens / 2;
    const int64_t row_bytes = int64_t{v_head_dim} * 2;
    const std::byte* v = v_panels[panel] + pair * 2 * row_bytes + column * 2;
    if constexpr (Rows <= kFetchRows) {
      // A part of the panel that lies together, for these columns.
      const std::byte* next = v_panels[panel + kAttentionAhead] + column * 2 * kPanelTokens +
                              pair * (Groups * 2 * kGroupColumns * 2);
#pragma GCC unroll 16
      for (int i = 0; i < Groups * 2; ++i) fetch(next + i * 64);
    }
    // A token outside has a weight of 0, and may hold anything.
    const __mmask32 seen0 = t >= first ? 0xffffffffu : 0, seen1 = t + 1 < last ? 0xffffffffu : 0;
    __m512i even[Groups], odd[Groups];
#pragma GCC unroll 16
    for (int g = 0; g < Groups; ++g) {
      const __mmask32 columns = g == Groups - 1 ? mask : 0xffffffffu;
      const __m512i v0 = _mm512_maskz_loadu_epi16(columns & seen0, v + g * 64);
      const __m512i v1 = _mm512_maskz_loadu_epi16(columns & seen1, v + row_bytes + g * 64);
      even[g] = _mm512_unpacklo_epi16(v0, v1);
      odd[g] = _mm512_unpackhi_epi16(v0, v1);
    }
    const auto* weights =
        reinterpret_cast<const int32_t*>(tile + int64_t{panel} * Rows * kPanelTokens) + pair;
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const __m512i w = _mm512_set1_epi32(weights[r * kPanelTokens]);
#pragma GCC unroll 16
      for (int g = 0; g < Groups; ++g) {
        dot(even_sum[g][r], even[g], w);
        dot(odd_sum[g][r], odd[g], w);
      }
    }
  }
#pragma GCC unroll 16
  for (int g = 0; g < Groups; ++g) {
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      store_columns(sums + r * stride + column + g * kGroupColumns, left_of(g), even_sum[g][r],
                    odd_sum[g][r]);
    }
  }
}

template <int Rows>
void values_of_rows(const float* tile, const std::byte* const* v_panels, int first, int last,
                    int v_head_dim, float* sums, int64_t stride) {
  constexpr int kGroups = Rows <= 2 ? 4 : Rows <= 6 ? 2 : 1;
  int column = 0;
  const auto run = [&]<int Groups>() {
    for (; column + (Groups - 1) * kGroupColumns < v_head_dim; column += Groups * kGroupColumns) {
      values_of_columns<Rows, Groups>(tile, v_panels, first, last, v_head_dim, column, sums,
                                      stride);
    }
  };
  run.template operator()<kGroups>();
  if constexpr (kGroups > 2) run.template operator()<2>();
  if constexpr (kGroups > 1) run.template operator()<1>();
}

void values(const float* tile, int rows, const std::byte* const* v_panels, int first, int last,
            int v_head_dim, const AttentionRowResult*, float* sums, int64_t stride) {
  using Fn = void (*)(const float*, const std::byte* const*, int, int, int, float*, int64_t);
  static constexpr Fn kByRows[kMaxRows] = {
      values_of_rows<1>, values_of_rows<2>,  values_of_rows<3>,  values_of_rows<4>,
      values_of_rows<5>, values_of_rows<6>,  values_of_rows<7>,  values_of_rows<8>,
      values_of_rows<9>, values_of_rows<10>, values_of_rows<11>, values_of_rows<12>,
  };
  kByRows[rows - 1](tile, v_panels, first, last, v_head_dim, sums, stride);
}

void merge(float* x, float x_factor, const float* y, float y_factor, int64_t n) {
  const __m512 xs = _mm512_set1_ps(x_factor);
  const __m512 ys = _mm512_set1_ps(y_factor);
  for (int64_t i = 0; i < n; i += 16) {
    const __m512 scaled = _mm512_mul_ps(_mm512_loadu_ps(x + i), xs);
    _mm512_storeu_ps(x + i, _mm512_fmadd_ps(_mm512_loadu_ps(y + i), ys, scaled));
  }
}

// [head_dim / 2][rows][2] in bf16.
void pack(const float* const* q, int rows, int head_dim, float scale, bool rotated,
          std::byte* queries) {
  alignas(64) float rotated_row[KvLayout::kMaxInt8HeadDim];
  auto* to = reinterpret_cast<int16_t*>(queries);
  for (int r = 0; r < rows; ++r) {
    const float* x = q[r];
    if (rotated) {
      for (int d = 0; d < head_dim; ++d) rotated_row[d] = x[d];
      hadamard_avx512(rotated_row, head_dim);
      x = rotated_row;
    }
    for (int from = 0; from < head_dim; from += 16) {
      const int left = head_dim - from;
      const __m512 part = _mm512_mul_ps(load_avx512(x + from, left), _mm512_set1_ps(scale));
      alignas(32) int16_t words[16];
      _mm256_store_si256(reinterpret_cast<__m256i*>(words), fp32_to_bf16_avx512(part));
      for (int d = 0; d < 16 && d < left; ++d) {
        to[(int64_t{(from + d) / 2} * rows + r) * 2 + d % 2] = words[d];
      }
    }
  }
}

}  // namespace

const AttentionKernel kAttentionAvx512Bf16[1] = {
    {"avx512_bf16", DType::kBf16, Isa{Isa::kAvx512, Isa::kAvx512Bf16}, kMaxRows,
     AttentionWeights::kBf16, pack, scores, softmax_avx512<AttentionWeights::kBf16>, values, merge},
};

}  // namespace lanner
