// SPDX-License-Identifier: Apache-2.0
#include "base/kv_layout.h"
#include "kernels/attention/kernels.h"
#include "kernels/attention/pack.h"
#include "kernels/attention/softmax_avx512.h"
#include "kernels/hadamard_avx512.h"
#include "kernels/vector_math_avx512.h"

namespace lanner {
namespace {

// 12 rows x 2 vectors of sums leave registers for the operands, and each vector of K or V that is
// loaded (and widened) serves 12 multiply-adds.
constexpr int kMaxRows = 12;
constexpr int kPanelTokens = KvLayout::kPanelTokens;

// Rows up to which a tile fetches ahead: more of them come from prefill, whose K and V are in the
// cache already.
constexpr int kFetchRows = 8;

void fetch(const std::byte* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T1); }

// How each KV type is read: two successive elements d, d + 1 of a panel's sixteen tokens, and up to
// sixteen elements of a V row.
struct Float {
  static constexpr auto kWeights = AttentionWeights::kNumerators;
  static __m512 finish(const std::byte*, int, __m512 sum) { return sum; }
};

struct F32 : Float {
  static constexpr int kBytes = 4;
  static void keys(const std::byte* panel, int d, __m512& k0, __m512& k1) {
    const auto* k = reinterpret_cast<const float*>(panel) + d * kPanelTokens;
    k0 = _mm512_loadu_ps(k);
    k1 = _mm512_loadu_ps(k + kPanelTokens);
  }
  static __m512 value(const std::byte* v, int, __mmask16 mask) {
    return _mm512_maskz_loadu_ps(mask, v);
  }
};

struct F16 : Float {
  static constexpr int kBytes = 2;
  static void keys(const std::byte* panel, int d, __m512& k0, __m512& k1) {
    const auto* k = reinterpret_cast<const uint16_t*>(panel) + d * kPanelTokens;
    k0 = _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(k)));
    k1 = _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(k + kPanelTokens)));
  }
  static __m512 value(const std::byte* v, int, __mmask16 mask) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, v));
  }
};

struct Bf16 : Float {
  static constexpr int kBytes = 2;
  static void keys(const std::byte* panel, int d, __m512& k0, __m512& k1) {
    const auto* k = reinterpret_cast<const uint16_t*>(panel) + d * kPanelTokens;
    const __m512i both = _mm512_loadu_si512(k);
    k0 = _mm512_castsi512_ps(_mm512_slli_epi32(both, 16));
    k1 = _mm512_castsi512_ps(_mm512_and_si512(both, _mm512_set1_epi32(-65536)));
  }
  static __m512 value(const std::byte* v, int, __mmask16 mask) {
    return bf16_to_fp32_avx512(_mm256_maskz_loadu_epi16(mask, v));
  }
};

// Widened: for CPUs without byte dot products.
struct I8 {
  static constexpr auto kWeights = AttentionWeights::kScaled;
  static constexpr int kBytes = 1;
  static __m512 key(__m512i quads, int shift) {
    const __m512i byte =
        _mm512_and_si512(_mm512_srl_epi32(quads, _mm_cvtsi32_si128(shift)), _mm512_set1_epi32(255));
    return _mm512_cvtepi32_ps(_mm512_sub_epi32(byte, _mm512_set1_epi32(128)));
  }
  static void keys(const std::byte* panel, int d, __m512& k0, __m512& k1) {
    const __m512i quads = _mm512_loadu_si512(panel + d / 4 * kPanelTokens * 4);
    k0 = key(quads, d % 4 * 8);
    k1 = key(quads, d % 4 * 8 + 8);
  }
  static __m512 finish(const std::byte* panel, int head_dim, __m512 sum) {
    return _mm512_mul_ps(sum, _mm512_loadu_ps(panel + (head_dim + 3) / 4 * 4 * kPanelTokens));
  }
  static __m512 value(const std::byte* v, int lane, __mmask16 mask) {
    const __m512i quads = _mm512_maskz_loadu_epi32(mask, v);
    const __m512i top = _mm512_sll_epi32(quads, _mm_cvtsi32_si128(24 - lane % 4 * 8));
    return _mm512_cvtepi32_ps(_mm512_srai_epi32(top, 24));
  }
};

// Bytes from one of V's vectors to the next, and where a token's vectors begin in its panel.
template <typename Kv>
constexpr int kVectorBytes = Kv::kBytes == 1 ? 64 : 16 * Kv::kBytes;
template <typename Kv>
int64_t value_offset(int lane, int v_head_dim, int column) {
  if (Kv::kBytes == 1) return (int64_t{lane / 4} * v_head_dim + column) * 4;
  return (int64_t{lane} * v_head_dim + column) * Kv::kBytes;
}

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
    for (int r = 0; r < Rows; ++r) {
      _mm512_storeu_ps(tile + (p * Rows + r) * kPanelTokens,
                       Kv::finish(k_panels[p], head_dim, sum[p][r]));
    }
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
void scores(const std::byte* queries, int rows, int head_dim, const std::byte* const* k_panels,
            int num_panels, float* tile) {
  using Fn = void (*)(const float*, int, const std::byte* const*, int, float*);
  static constexpr Fn kByRows[kMaxRows] = {
      scores_of_rows<Kv, 1>, scores_of_rows<Kv, 2>,  scores_of_rows<Kv, 3>,  scores_of_rows<Kv, 4>,
      scores_of_rows<Kv, 5>, scores_of_rows<Kv, 6>,  scores_of_rows<Kv, 7>,  scores_of_rows<Kv, 8>,
      scores_of_rows<Kv, 9>, scores_of_rows<Kv, 10>, scores_of_rows<Kv, 11>, scores_of_rows<Kv, 12>,
  };
  kByRows[rows - 1](reinterpret_cast<const float*>(queries), head_dim, k_panels, num_panels, tile);
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
          // A part of the panel that lies together, for these columns.
          const int part = Kv::kBytes == 1 ? lane / 4 : lane;
          const std::byte* next = v_panels[panel + kAttentionAhead] +
                                  int64_t{column} * kPanelTokens * Kv::kBytes +
                                  part * (Vectors * kVectorBytes<Kv>);
#pragma GCC unroll 16
          for (int at = 0; at < Vectors * kVectorBytes<Kv>; at += 64) fetch(next + at);
        }
      }
      __m512 value[Vectors];
#pragma GCC unroll 16
      for (int j = 0; j < Vectors; ++j) {
        const __mmask16 lanes = j == Vectors - 1 ? mask : static_cast<__mmask16>(0xffff);
        value[j] = Kv::value(v + j * kVectorBytes<Kv>, lane, lanes);
      }
#pragma GCC unroll 16
      for (int r = 0; r < Rows; ++r) {
        const __m512 w = _mm512_set1_ps(weight[r * kPanelTokens + lane]);
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
            int v_head_dim, const AttentionRowResult*, float* sums, int64_t stride) {
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

void pack(const float* const* q, int rows, int head_dim, float scale, bool rotated,
          std::byte* queries) {
  pack_queries<hadamard_avx512>(q, rows, head_dim, scale, rotated,
                                reinterpret_cast<float*>(queries));
}

template <typename Kv>
constexpr AttentionKernel kernel_of(DType dtype) {
  return {"avx512",     dtype, Isa{Isa::kAvx512}, kMaxRows,
          Kv::kWeights, pack,  scores<Kv>,        softmax_avx512<Kv::kWeights>,
          values<Kv>,   merge};
}

}  // namespace

const AttentionKernel kAttentionAvx512[4] = {
    kernel_of<F32>(DType::kF32), kernel_of<F16>(DType::kF16), kernel_of<Bf16>(DType::kBf16),
    kernel_of<I8>(DType::kI8)};

}  // namespace lanner
