// SPDX-License-Identifier: Apache-2.0
#include "base/kv_layout.h"
#include "kernels/attention/kernels.h"
#include "kernels/vector_math_avx2.h"

namespace lanner {
namespace {

// 6 rows x 2 vectors of sums leave 4 of the 16 registers for the operands.
constexpr int kMaxRows = 6;
constexpr int kPanelTokens = KvLayout::kPanelTokens;

__m128i load_half(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }

// Up to eight 16-bit elements, zeros after them. AVX2 has no masked load of them.
__m128i load_half(const std::byte* p, int left) {
  if (left >= 8) return load_half(p);
  alignas(16) uint16_t elements[8] = {};
  const auto* from = reinterpret_cast<const uint16_t*>(p);
  for (int i = 0; i < left; ++i) elements[i] = from[i];
  return load_half(elements);
}

// How each KV type is read: elements d and d + 1 of eight of a panel's sixteen tokens (`half` 0 or
// 1), and up to eight elements of a V row.
struct F32 {
  static constexpr int kBytes = 4;
  static void keys(const std::byte* panel, int d, int half, __m256& k0, __m256& k1) {
    const auto* k = reinterpret_cast<const float*>(panel) + d * kPanelTokens + half * 8;
    k0 = _mm256_loadu_ps(k);
    k1 = _mm256_loadu_ps(k + kPanelTokens);
  }
  static __m256 value(const std::byte* v, int left) {
    return load_avx2(reinterpret_cast<const float*>(v), left);
  }
};

struct F16 {
  static constexpr int kBytes = 2;
  static void keys(const std::byte* panel, int d, int half, __m256& k0, __m256& k1) {
    const auto* k = reinterpret_cast<const uint16_t*>(panel) + d * kPanelTokens + half * 8;
    k0 = _mm256_cvtph_ps(load_half(k));
    k1 = _mm256_cvtph_ps(load_half(k + kPanelTokens));
  }
  static __m256 value(const std::byte* v, int left) { return _mm256_cvtph_ps(load_half(v, left)); }
};

struct Bf16 {
  static constexpr int kBytes = 2;
  static void keys(const std::byte* panel, int d, int half, __m256& k0, __m256& k1) {
    const auto* k = reinterpret_cast<const uint16_t*>(panel) + d * kPanelTokens + half * 16;
    const __m256i both = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(k));
    k0 = _mm256_castsi256_ps(_mm256_slli_epi32(both, 16));
    k1 = _mm256_castsi256_ps(_mm256_and_si256(both, _mm256_set1_epi32(-65536)));
  }
  static __m256 value(const std::byte* v, int left) {
    return bf16_to_fp32_avx2(load_half(v, left));
  }
};

// Panels as 2 * Panels vectors of eight tokens.
template <typename Kv, int Rows, int Panels>
void scores_of_panels(const float* queries, int head_dim, const std::byte* const* k_panels,
                      float* tile) {
  constexpr int kVectors = 2 * Panels;
  __m256 sum[kVectors][Rows];
#pragma GCC unroll 16
  for (int i = 0; i < kVectors; ++i) {
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) sum[i][r] = _mm256_setzero_ps();
  }
  for (int d = 0; d < head_dim; d += 2) {
    const float* q = queries + d * Rows;
    __m256 k0[kVectors], k1[kVectors];
#pragma GCC unroll 16
    for (int i = 0; i < kVectors; ++i) Kv::keys(k_panels[i / 2], d, i % 2, k0[i], k1[i]);
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const __m256 q0 = _mm256_set1_ps(q[r]);
#pragma GCC unroll 16
      for (int i = 0; i < kVectors; ++i) sum[i][r] = _mm256_fmadd_ps(q0, k0[i], sum[i][r]);
    }
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const __m256 q1 = _mm256_set1_ps(q[Rows + r]);
#pragma GCC unroll 16
      for (int i = 0; i < kVectors; ++i) sum[i][r] = _mm256_fmadd_ps(q1, k1[i], sum[i][r]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kVectors; ++i) {
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      _mm256_storeu_ps(tile + (i / 2 * Rows + r) * kPanelTokens + i % 2 * 8, sum[i][r]);
    }
  }
}

template <typename Kv, int Rows>
void scores_of_rows(const float* queries, int head_dim, const std::byte* const* k_panels,
                    int num_panels, float* tile) {
  constexpr int kPanels = Rows <= 2 ? 2 : 1;
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
  static constexpr Fn kByRows[kMaxRows] = {scores_of_rows<Kv, 1>, scores_of_rows<Kv, 2>,
                                           scores_of_rows<Kv, 3>, scores_of_rows<Kv, 4>,
                                           scores_of_rows<Kv, 5>, scores_of_rows<Kv, 6>};
  kByRows[rows - 1](queries, head_dim, k_panels, num_panels, tile);
}

// All ones in the eight lanes from `column` on that the row may see.
__m256 seen_lanes(const AttentionRow& row, int column) {
  const __m256i columns =
      _mm256_add_epi32(_mm256_set1_epi32(column), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  const __m256i before = _mm256_cmpgt_epi32(_mm256_set1_epi32(row.begin), columns);
  const __m256i inside = _mm256_cmpgt_epi32(_mm256_set1_epi32(row.end), columns);
  return _mm256_castsi256_ps(_mm256_andnot_si256(before, inside));
}

void clear_panel(float* at) {
  _mm256_storeu_ps(at, _mm256_setzero_ps());
  _mm256_storeu_ps(at + 8, _mm256_setzero_ps());
}

void softmax(float* scores, int64_t panel_stride, int num_panels, const AttentionRow& row,
             float* max, float* sum) {
  const bool empty = row.begin >= row.end;
  const int first = empty ? num_panels : row.begin / kPanelTokens;
  const int last = empty ? num_panels : (row.end + kPanelTokens - 1) / kPanelTokens;
  for (int p = 0; p < first; ++p) clear_panel(scores + p * panel_stride);
  for (int p = last; p < num_panels; ++p) clear_panel(scores + p * panel_stride);

  const __m256 minus_infinity = _mm256_set1_ps(-__builtin_inff());
  const __m256 cap = _mm256_set1_ps(row.soft_cap);
  const __m256 inverse_cap = _mm256_set1_ps(row.soft_cap > 0 ? 1.0f / row.soft_cap : 0.0f);
  const __m256 slope = _mm256_set1_ps(row.slope);
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  __m256 largest = minus_infinity;
  for (int p = first; p < last; ++p) {
    for (int half = 0; half < 2; ++half) {
      float* at = scores + p * panel_stride + half * 8;
      const int column = p * kPanelTokens + half * 8;
      __m256 s = _mm256_loadu_ps(at);
      if (row.soft_cap > 0) s = _mm256_mul_ps(cap, tanh_avx2(_mm256_mul_ps(s, inverse_cap)));
      if (row.slope != 0) {
        const __m256i distance = _mm256_add_epi32(lanes, _mm256_set1_epi32(row.distance + column));
        s = _mm256_add_ps(s, _mm256_mul_ps(slope, _mm256_cvtepi32_ps(distance)));
      }
      if (row.soft_cap > 0 || row.slope != 0) _mm256_storeu_ps(at, s);
      largest =
          _mm256_max_ps(largest, _mm256_blendv_ps(minus_infinity, s, seen_lanes(row, column)));
    }
  }
  *max = reduce_max_avx2(largest);

  const __m256 maximum = _mm256_set1_ps(*max);
  __m256 total = _mm256_setzero_ps();
  for (int p = first; p < last; ++p) {
    for (int half = 0; half < 2; ++half) {
      float* at = scores + p * panel_stride + half * 8;
      const __m256 e = _mm256_and_ps(seen_lanes(row, p * kPanelTokens + half * 8),
                                     exp_avx2(_mm256_sub_ps(_mm256_loadu_ps(at), maximum)));
      _mm256_storeu_ps(at, e);
      total = _mm256_add_ps(total, e);
    }
  }
  *sum = reduce_add_avx2(total);
}

// Vectors [column / 8, + Vectors) of V.
template <typename Kv, int Rows, int Vectors>
void values_of_columns(const float* tile, const std::byte* const* v_panels, int first, int last,
                       int v_head_dim, int column, float* sums, int64_t stride) {
  __m256 sum[Vectors][Rows];
#pragma GCC unroll 16
  for (int j = 0; j < Vectors; ++j) {
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) sum[j][r] = _mm256_loadu_ps(sums + r * stride + column + j * 8);
  }
  const int64_t row_bytes = int64_t{v_head_dim} * Kv::kBytes;
  for (int t = first; t < last;) {
    const int panel = t / kPanelTokens;
    const int lane = t % kPanelTokens;
    const int panel_end = (panel + 1) * kPanelTokens < last ? (panel + 1) * kPanelTokens : last;
    const std::byte* v = v_panels[panel] + lane * row_bytes + int64_t{column} * Kv::kBytes;
    const float* weight = tile + int64_t{panel} * Rows * kPanelTokens + lane;
    for (; t < panel_end; ++t, v += row_bytes, ++weight) {
      __m256 value[Vectors];
#pragma GCC unroll 16
      for (int j = 0; j < Vectors; ++j) {
        value[j] =
            Kv::value(v + j * 8 * Kv::kBytes, j == Vectors - 1 ? v_head_dim - column - j * 8 : 8);
      }
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r) {
        const __m256 w = _mm256_set1_ps(weight[r * kPanelTokens]);
#pragma GCC unroll 16
        for (int j = 0; j < Vectors; ++j) sum[j][r] = _mm256_fmadd_ps(w, value[j], sum[j][r]);
      }
    }
  }
#pragma GCC unroll 16
  for (int j = 0; j < Vectors; ++j) {
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) _mm256_storeu_ps(sums + r * stride + column + j * 8, sum[j][r]);
  }
}

template <typename Kv, int Rows>
void values_of_rows(const float* tile, const std::byte* const* v_panels, int first, int last,
                    int v_head_dim, float* sums, int64_t stride) {
  constexpr int kVectors = Rows == 1 ? 8 : Rows <= 3 ? 4 : 2;
  int column = 0;
  const auto run = [&]<int Vectors>() {
    for (; column + (Vectors - 1) * 8 < v_head_dim; column += Vectors * 8) {
      values_of_columns<Kv, Rows, Vectors>(tile, v_panels, first, last, v_head_dim, column, sums,
                                           stride);
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
  static constexpr Fn kByRows[kMaxRows] = {values_of_rows<Kv, 1>, values_of_rows<Kv, 2>,
                                           values_of_rows<Kv, 3>, values_of_rows<Kv, 4>,
                                           values_of_rows<Kv, 5>, values_of_rows<Kv, 6>};
  kByRows[rows - 1](tile, v_panels, first, last, v_head_dim, sums, stride);
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

const AttentionKernel kAttentionAvx2[3] = {
    {"avx2", DType::kF32, Isa{Isa::kAvx2}, kMaxRows, scores<F32>, softmax, values<F32>, merge},
    {"avx2", DType::kF16, Isa{Isa::kAvx2}, kMaxRows, scores<F16>, softmax, values<F16>, merge},
    {"avx2", DType::kBf16, Isa{Isa::kAvx2}, kMaxRows, scores<Bf16>, softmax, values<Bf16>, merge},
};

}  // namespace lanner
