// SPDX-License-Identifier: Apache-2.0
#include "base/kv_layout.h"
#include "kernels/attention/kernels.h"
#include "kernels/attention/pack.h"
#include "kernels/attention/softmax_avx2.h"
#include "kernels/hadamard_avx2.h"
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

// Rows up to which a tile fetches ahead: more of them come from prefill, whose K and V are in the
// cache already.
constexpr int kFetchRows = 4;

void fetch(const std::byte* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1); }

// How each KV type is read: elements d and d + 1 of eight of a panel's sixteen tokens (`half` 0 or
// 1), and up to eight elements of a V row.
struct Float {
  static constexpr auto kWeights = AttentionWeights::kNumerators;
  static __m256 finish(const std::byte*, int, int, __m256 sum) { return sum; }
};

struct F32 : Float {
  static constexpr int kBytes = 4;
  static void keys(const std::byte* panel, int d, int half, __m256& k0, __m256& k1) {
    const auto* k = reinterpret_cast<const float*>(panel) + d * kPanelTokens + half * 8;
    k0 = _mm256_loadu_ps(k);
    k1 = _mm256_loadu_ps(k + kPanelTokens);
  }
  static __m256 value(const std::byte* v, int, int left) {
    return load_avx2(reinterpret_cast<const float*>(v), left);
  }
};

struct F16 : Float {
  static constexpr int kBytes = 2;
  static void keys(const std::byte* panel, int d, int half, __m256& k0, __m256& k1) {
    const auto* k = reinterpret_cast<const uint16_t*>(panel) + d * kPanelTokens + half * 8;
    k0 = _mm256_cvtph_ps(load_half(k));
    k1 = _mm256_cvtph_ps(load_half(k + kPanelTokens));
  }
  static __m256 value(const std::byte* v, int, int left) {
    return _mm256_cvtph_ps(load_half(v, left));
  }
};

struct Bf16 : Float {
  static constexpr int kBytes = 2;
  static void keys(const std::byte* panel, int d, int half, __m256& k0, __m256& k1) {
    const auto* k = reinterpret_cast<const uint16_t*>(panel) + d * kPanelTokens + half * 16;
    const __m256i both = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(k));
    k0 = _mm256_castsi256_ps(_mm256_slli_epi32(both, 16));
    k1 = _mm256_castsi256_ps(_mm256_and_si256(both, _mm256_set1_epi32(-65536)));
  }
  static __m256 value(const std::byte* v, int, int left) {
    return bf16_to_fp32_avx2(load_half(v, left));
  }
};

// Widened: for CPUs without byte dot products.
struct I8 {
  static constexpr auto kWeights = AttentionWeights::kScaled;
  static constexpr int kBytes = 1;
  static __m256 key(__m256i quads, int shift) {
    const __m256i byte =
        _mm256_and_si256(_mm256_srl_epi32(quads, _mm_cvtsi32_si128(shift)), _mm256_set1_epi32(255));
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(byte, _mm256_set1_epi32(128)));
  }
  static void keys(const std::byte* panel, int d, int half, __m256& k0, __m256& k1) {
    const __m256i quads = _mm256_loadu_si256(
        reinterpret_cast<const __m256i*>(panel + d / 4 * kPanelTokens * 4 + half * 32));
    k0 = key(quads, d % 4 * 8);
    k1 = key(quads, d % 4 * 8 + 8);
  }
  static __m256 finish(const std::byte* panel, int head_dim, int half, __m256 sum) {
    const auto* scales =
        reinterpret_cast<const float*>(panel + (head_dim + 3) / 4 * 4 * kPanelTokens);
    return _mm256_mul_ps(sum, _mm256_loadu_ps(scales + half * 8));
  }
  static __m256 value(const std::byte* v, int lane, int left) {
    const auto* words = reinterpret_cast<const int*>(v);
    const __m256i quads = left >= 8 ? _mm256_loadu_si256(reinterpret_cast<const __m256i*>(v))
                                    : _mm256_maskload_epi32(words, tail_mask_avx2(left));
    const __m256i top = _mm256_sll_epi32(quads, _mm_cvtsi32_si128(24 - lane % 4 * 8));
    return _mm256_cvtepi32_ps(_mm256_srai_epi32(top, 24));
  }
};

// Bytes from one of V's vectors to the next, and where a token's vectors begin in its panel.
template <typename Kv>
constexpr int kVectorBytes = Kv::kBytes == 1 ? 32 : 8 * Kv::kBytes;
template <typename Kv>
int64_t value_offset(int lane, int v_head_dim, int column) {
  if (Kv::kBytes == 1) return (int64_t{lane / 4} * v_head_dim + column) * 4;
  return (int64_t{lane} * v_head_dim + column) * Kv::kBytes;
}

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
    if constexpr (Rows <= kFetchRows) {
      constexpr int kStep = 2 * Kv::kBytes * kPanelTokens;
#pragma GCC unroll 16
      for (int p = 0; p < Panels; ++p) {
#pragma GCC unroll 16
        for (int at = 0; at < kStep; at += 64) {
          fetch(k_panels[p + kAttentionAhead] + d * Kv::kBytes * kPanelTokens + at);
        }
      }
    }
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
      _mm256_storeu_ps(tile + (i / 2 * Rows + r) * kPanelTokens + i % 2 * 8,
                       Kv::finish(k_panels[i / 2], head_dim, i % 2, sum[i][r]));
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
void scores(const std::byte* queries, int rows, int head_dim, const std::byte* const* k_panels,
            int num_panels, float* tile) {
  using Fn = void (*)(const float*, int, const std::byte* const*, int, float*);
  static constexpr Fn kByRows[kMaxRows] = {scores_of_rows<Kv, 1>, scores_of_rows<Kv, 2>,
                                           scores_of_rows<Kv, 3>, scores_of_rows<Kv, 4>,
                                           scores_of_rows<Kv, 5>, scores_of_rows<Kv, 6>};
  kByRows[rows - 1](reinterpret_cast<const float*>(queries), head_dim, k_panels, num_panels, tile);
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
  for (int t = first; t < last;) {
    const int panel = t / kPanelTokens;
    const int panel_end = (panel + 1) * kPanelTokens < last ? (panel + 1) * kPanelTokens : last;
    const float* weight = tile + int64_t{panel} * Rows * kPanelTokens;
    for (; t < panel_end; ++t) {
      const int lane = t % kPanelTokens;
      const int64_t offset = value_offset<Kv>(lane, v_head_dim, column);
      const std::byte* v = v_panels[panel] + offset;
      if constexpr (Rows <= kFetchRows) {
        if (Kv::kBytes > 1 || lane % 4 == 0) {
          const std::byte* next = v_panels[panel + kAttentionAhead] + offset;
#pragma GCC unroll 16
          for (int at = 0; at < Vectors * kVectorBytes<Kv>; at += 64) fetch(next + at);
        }
      }
      __m256 value[Vectors];
#pragma GCC unroll 16
      for (int j = 0; j < Vectors; ++j) {
        const int left = j == Vectors - 1 ? v_head_dim - column - j * 8 : 8;
        value[j] = Kv::value(v + j * kVectorBytes<Kv>, lane, left);
      }
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r) {
        const __m256 w = _mm256_set1_ps(weight[r * kPanelTokens + lane]);
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
            int v_head_dim, const AttentionRowResult*, float* sums, int64_t stride) {
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

void pack(const float* const* q, int rows, int head_dim, float scale, bool rotated,
          std::byte* queries) {
  pack_queries<hadamard_avx2>(q, rows, head_dim, scale, rotated, reinterpret_cast<float*>(queries));
}

template <typename Kv>
constexpr AttentionKernel kernel_of(DType dtype) {
  return {"avx2",       dtype, Isa{Isa::kAvx2}, kMaxRows,
          Kv::kWeights, pack,  scores<Kv>,      softmax_avx2<Kv::kWeights>,
          values<Kv>,   merge};
}

}  // namespace

const AttentionKernel kAttentionAvx2[4] = {kernel_of<F32>(DType::kF32), kernel_of<F16>(DType::kF16),
                                           kernel_of<Bf16>(DType::kBf16),
                                           kernel_of<I8>(DType::kI8)};

}  // namespace lanner
