// SPDX-License-Identifier: Apache-2.0
#include "base/kv_layout.h"
#include "kernels/attention/kernels.h"
#include "kernels/vector_math_avx512.h"

namespace lanner {
namespace {

// 12 rows x 2 vectors of sums leave registers for the operands, and each vector of K or V that is
// loaded (and widened) serves 12 multiply-adds.
constexpr int kMaxRows = 12;
constexpr int kPanelTokens = KvLayout::kPanelTokens;

// How each KV type is read: two successive elements d, d + 1 of a panel's sixteen tokens, and up to
// sixteen elements of a V row.
struct F32 {
  static constexpr int kBytes = 4;
  static void keys(const std::byte* panel, int d, __m512& k0, __m512& k1) {
    const auto* k = reinterpret_cast<const float*>(panel) + d * kPanelTokens;
    k0 = _mm512_loadu_ps(k);
    k1 = _mm512_loadu_ps(k + kPanelTokens);
  }
  static __m512 value(const std::byte* v, __mmask16 mask) { return _mm512_maskz_loadu_ps(mask, v); }
};

struct F16 {
  static constexpr int kBytes = 2;
  static void keys(const std::byte* panel, int d, __m512& k0, __m512& k1) {
    const auto* k = reinterpret_cast<const uint16_t*>(panel) + d * kPanelTokens;
    k0 = _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(k)));
    k1 = _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(k + kPanelTokens)));
  }
  static __m512 value(const std::byte* v, __mmask16 mask) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, v));
  }
};

struct Bf16 {
  static constexpr int kBytes = 2;
  static void keys(const std::byte* panel, int d, __m512& k0, __m512& k1) {
    const auto* k = reinterpret_cast<const uint16_t*>(panel) + d * kPanelTokens;
    const __m512i both = _mm512_loadu_si512(k);
    k0 = _mm512_castsi512_ps(_mm512_slli_epi32(both, 16));
    k1 = _mm512_castsi512_ps(_mm512_and_si512(both, _mm512_set1_epi32(-65536)));
  }
  static __m512 value(const std::byte* v, __mmask16 mask) {
    return bf16_to_fp32_avx512(_mm256_maskz_loadu_epi16(mask, v));
  }
};

template <typename Kv, int Rows, int Panels>
void scores_of_panels(const float* queries, int head_dim, const std::byte* const* k_panels,
                      float* tile) {
  __m512 sum[Panels][Rows];
#pragma GCC unroll 16
  for (int p = 0; p < Panels; ++p) {
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) sum[p][r] = _mm512_setzero_ps();
  }
  for (int d = 0; d < head_dim; d += 2) {
    const float* q = queries + d * Rows;
    __m512 k0[Panels], k1[Panels];
#pragma GCC unroll 16
    for (int p = 0; p < Panels; ++p) Kv::keys(k_panels[p], d, k0[p], k1[p]);
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const __m512 q0 = _mm512_set1_ps(q[r]);
#pragma GCC unroll 16
      for (int p = 0; p < Panels; ++p) sum[p][r] = _mm512_fmadd_ps(q0, k0[p], sum[p][r]);
    }
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const __m512 q1 = _mm512_set1_ps(q[Rows + r]);
#pragma GCC unroll 16
      for (int p = 0; p < Panels; ++p) sum[p][r] = _mm512_fmadd_ps(q1, k1[p], sum[p][r]);
    }
  }
#pragma GCC unroll 16
  for (int p = 0; p < Panels; ++p) {
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r)
      _mm512_storeu_ps(tile + (p * Rows + r) * kPanelTokens, sum[p][r]);
  }
}

template <typename Kv, int Rows>
void scores_of_rows(const float* queries, int head_dim, const std::byte* const* k_panels,
                    int num_panels, float* tile) {
  constexpr int kPanels = Rows <= 3 ? 4 : 2;
  int p = 0;
  for (; p + kPanels <= num_panels; p += kPanels) {
    scores_of_panels<Kv, Rows, kPanels>(queries, head_dim, k_panels + p,
                                        tile + int64_t{p} * Rows * kPanelTokens);
  }
  for (; p < num_panels; ++p) {
    scores_of_panels<Kv, Rows, 1>(queries, head_dim, k_panels + p,
                                  tile + int64_t{p} * Rows * kPanelTokens);
  }
}

template <typename Kv>
void scores(const float* queries, int rows, int head_dim, const std::byte* const* k_panels,
            int num_panels, float* tile) {
  using Fn = void (*)(const float*, int, const std::byte* const*, int, float*);
  static constexpr Fn kByRows[kMaxRows] = {
      scores_of_rows<Kv, 1>, scores_of_rows<Kv, 2>,  scores_of_rows<Kv, 3>,  scores_of_rows<Kv, 4>,
      scores_of_rows<Kv, 5>, scores_of_rows<Kv, 6>,  scores_of_rows<Kv, 7>,  scores_of_rows<Kv, 8>,
      scores_of_rows<Kv, 9>, scores_of_rows<Kv, 10>, scores_of_rows<Kv, 11>, scores_of_rows<Kv, 12>,
  };
  kByRows[rows - 1](queries, head_dim, k_panels, num_panels, tile);
}

// The lanes of panel p whose columns the row may see.
__mmask16 seen_lanes(const AttentionRow& row, int p) {
  const int begin = row.begin - p * kPanelTokens;
  const int end = row.end - p * kPanelTokens;
  const __mmask16 before = begin > 0 ? tail_mask_avx512(begin) : static_cast<__mmask16>(0);
  return static_cast<__mmask16>(tail_mask_avx512(end) & ~before);
}

void softmax(float* scores, int64_t panel_stride, int num_panels, const AttentionRow& row,
             float* max, float* sum) {
  const bool empty = row.begin >= row.end;
  const int first = empty ? num_panels : row.begin / kPanelTokens;
  const int last = empty ? num_panels : (row.end + kPanelTokens - 1) / kPanelTokens;
  for (int p = 0; p < first; ++p) _mm512_storeu_ps(scores + p * panel_stride, _mm512_setzero_ps());
  for (int p = last; p < num_panels; ++p) {
    _mm512_storeu_ps(scores + p * panel_stride, _mm512_setzero_ps());
  }

  const __m512 cap = _mm512_set1_ps(row.soft_cap);
  const __m512 inverse_cap = _mm512_set1_ps(row.soft_cap > 0 ? 1.0f / row.soft_cap : 0.0f);
  const __m512 slope = _mm512_set1_ps(row.slope);
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  __m512 largest = _mm512_set1_ps(-__builtin_inff());
  for (int p = first; p < last; ++p) {
    float* at = scores + p * panel_stride;
    __m512 s = _mm512_loadu_ps(at);
    if (row.soft_cap > 0) s = _mm512_mul_ps(cap, tanh_avx512(_mm512_mul_ps(s, inverse_cap)));
    if (row.slope != 0) {
      const __m512i distance =
          _mm512_add_epi32(lanes, _mm512_set1_epi32(row.distance + p * kPanelTokens));
      s = _mm512_add_ps(s, _mm512_mul_ps(slope, _mm512_cvtepi32_ps(distance)));
    }
    if (row.soft_cap > 0 || row.slope != 0) _mm512_storeu_ps(at, s);
    largest = _mm512_mask_max_ps(largest, seen_lanes(row, p), largest, s);
  }
  *max = _mm512_reduce_max_ps(largest);

  const __m512 maximum = _mm512_set1_ps(*max);
  __m512 total = _mm512_setzero_ps();
  for (int p = first; p < last; ++p) {
    float* at = scores + p * panel_stride;
    const __m512 e = _mm512_maskz_mov_ps(seen_lanes(row, p),
                                         exp_avx512(_mm512_sub_ps(_mm512_loadu_ps(at), maximum)));
    _mm512_storeu_ps(at, e);
    total = _mm512_add_ps(total, e);
  }
  *sum = _mm512_reduce_add_ps(total);
}

// Vectors [column / 16, + Vectors) of V; `mask` is of the last of them.
template <typename Kv, int Rows, int Vectors>
void values_of_columns(const float* tile, const std::byte* const* v_panels, int first, int last,
                       int v_head_dim, int column, __mmask16 mask, float* sums, int64_t stride) {
  __m512 sum[Vectors][Rows];
#pragma GCC unroll 16
  for (int j = 0; j < Vectors; ++j) {
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) sum[j][r] = _mm512_loadu_ps(sums + r * stride + column + j * 16);
  }
  const int64_t row_bytes = int64_t{v_head_dim} * Kv::kBytes;
  for (int t = first; t < last;) {
    const int panel = t / kPanelTokens;
    const int lane = t % kPanelTokens;
    const int panel_end = (panel + 1) * kPanelTokens < last ? (panel + 1) * kPanelTokens : last;
    const std::byte* v = v_panels[panel] + lane * row_bytes + int64_t{column} * Kv::kBytes;
    const float* weight = tile + int64_t{panel} * Rows * kPanelTokens + lane;
    for (; t < panel_end; ++t, v += row_bytes, ++weight) {
      __m512 value[Vectors];
#pragma GCC unroll 16
      for (int j = 0; j < Vectors; ++j) {
        const __mmask16 lanes = j == Vectors - 1 ? mask : static_cast<__mmask16>(0xffff);
        value[j] = Kv::value(v + j * 16 * Kv::kBytes, lanes);
      }
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r) {
        const __m512 w = _mm512_set1_ps(weight[r * kPanelTokens]);
#pragma GCC unroll 16
        for (int j = 0; j < Vectors; ++j) sum[j][r] = _mm512_fmadd_ps(w, value[j], sum[j][r]);
      }
    }
  }
#pragma GCC unroll 16
  for (int j = 0; j < Vectors; ++j) {
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) _mm512_storeu_ps(sums + r * stride + column + j * 16, sum[j][r]);
  }
}

template <typename Kv, int Rows>
void values_of_rows(const float* tile, const std::byte* const* v_panels, int first, int last,
                    int v_head_dim, float* sums, int64_t stride) {
  constexpr int kVectors = Rows <= 3 ? 8 : Rows <= 6 ? 4 : 2;
  int column = 0;
  const auto run = [&]<int Vectors>() {
    for (; column + (Vectors - 1) * 16 < v_head_dim; column += Vectors * 16) {
      const __mmask16 mask = tail_mask_avx512(v_head_dim - column - (Vectors - 1) * 16);
      values_of_columns<Kv, Rows, Vectors>(tile, v_panels, first, last, v_head_dim, column, mask,
                                           sums, stride);
    }
  };
  run.template operator()<kVectors>();
  if constexpr (kVectors > 4) run.template operator()<4>();
  if constexpr (kVectors > 2) run.template operator()<2>();
  run.template operator()<1>();
}

template <typename Kv>
void values(const float* tile, int rows, const std::byte* const* v_panels, int first, int last,
            int v_head_dim, float* sums, int64_t stride) {
  using Fn = void (*)(const float*, const std::byte* const*, int, int, int, float*, int64_t);
  static constexpr Fn kByRows[kMaxRows] = {
      values_of_rows<Kv, 1>, values_of_rows<Kv, 2>,  values_of_rows<Kv, 3>,  values_of_rows<Kv, 4>,
      values_of_rows<Kv, 5>, values_of_rows<Kv, 6>,  values_of_rows<Kv, 7>,  values_of_rows<Kv, 8>,
      values_of_rows<Kv, 9>, values_of_rows<Kv, 10>, values_of_rows<Kv, 11>, values_of_rows<Kv, 12>,
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

}  // namespace

const AttentionKernel kAttentionAvx512[3] = {
    {"avx512", DType::kF32, Isa{Isa::kAvx512}, kMaxRows, scores<F32>, softmax, values<F32>, merge},
    {"avx512", DType::kF16, Isa{Isa::kAvx512}, kMaxRows, scores<F16>, softmax, values<F16>, merge},
    {"avx512", DType::kBf16, Isa{Isa::kAvx512}, kMaxRows, scores<Bf16>, softmax, values<Bf16>,
     merge},
};

}  // namespace lanner
