// SPDX-License-Identifier: Apache-2.0
// Static, so that every object keeps its own copy (an ISA file must export nothing but its table).
#pragma once

#include "base/kv_layout.h"
#include "kernels/attention/kernels.h"
#include "kernels/vector_math_avx2.h"

namespace lanner {

// All ones in the eight lanes from `column` on that the row may see.
static inline __m256 seen_lanes(const AttentionRow& row, int column) {
  const __m256i columns =
      _mm256_add_epi32(_mm256_set1_epi32(column), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  const __m256i before = _mm256_cmpgt_epi32(_mm256_set1_epi32(row.begin), columns);
  const __m256i inside = _mm256_cmpgt_epi32(_mm256_set1_epi32(row.end), columns);
  return _mm256_castsi256_ps(_mm256_andnot_si256(before, inside));
}

static inline void clear_panel(float* at) {
  _mm256_storeu_ps(at, _mm256_setzero_ps());
  _mm256_storeu_ps(at + 8, _mm256_setzero_ps());
}

template <AttentionWeights kWeights>
static inline void softmax_avx2(float* scores, int64_t panel_stride, int num_panels,
                                const AttentionRow& row, AttentionRowResult* result) {
  const bool empty = row.begin >= row.end;
  const int first = empty ? num_panels : row.begin / KvLayout::kPanelTokens;
  const int last =
      empty ? num_panels : (row.end + KvLayout::kPanelTokens - 1) / KvLayout::kPanelTokens;
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
      const int column = p * KvLayout::kPanelTokens + half * 8;
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
  result->max = reduce_max_avx2(largest);

  const __m256 maximum = _mm256_set1_ps(result->max);
  __m256 total = _mm256_setzero_ps();
  __m256 largest_weight = total, sum_of_weights = total;
  for (int p = first; p < last; ++p) {
    if constexpr (kWeights == AttentionWeights::kFixed16) {
      for (int64_t i = row.fetch_begin; i < row.fetch_end; i += 64) {
        _mm_prefetch(reinterpret_cast<const char*>(row.v_panels[p] + i), _MM_HINT_T1);
      }
    }
    for (int half = 0; half < 2; ++half) {
      float* at = scores + p * panel_stride + half * 8;
      const __m256 seen = seen_lanes(row, p * KvLayout::kPanelTokens + half * 8);
      const __m256 e = _mm256_and_ps(seen, exp_avx2(_mm256_sub_ps(_mm256_loadu_ps(at), maximum)));
      total = _mm256_add_ps(total, e);
      if constexpr (kWeights == AttentionWeights::kNumerators) {
        _mm256_storeu_ps(at, e);
      } else {
        const auto* scales = reinterpret_cast<const float*>(row.v_panels[p] + row.v_scale_offset);
        const __m256 w = _mm256_and_ps(seen, _mm256_mul_ps(e, _mm256_loadu_ps(scales + half * 8)));
        _mm256_storeu_ps(at, w);
        largest_weight = _mm256_max_ps(largest_weight, w);
        sum_of_weights = _mm256_add_ps(sum_of_weights, w);
      }
    }
  }
  result->sum = reduce_add_avx2(total);
  if constexpr (kWeights == AttentionWeights::kFixed16) {
    const float max_weight = reduce_max_avx2(largest_weight);
    // A scale that is not finite must show: a maximum does not hand on a NaN, a sum does.
    result->weight_scale = max_weight / 65535.0f + 0.0f * reduce_add_avx2(sum_of_weights);
    const __m256 inverse = _mm256_set1_ps(max_weight > 1e-30f ? 65535.0f / max_weight : 0.0f);
    for (int p = first; p < last; ++p) {
      float* at = scores + p * panel_stride;
      const __m256i a = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(at), inverse));
      const __m256i b = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(at + 8), inverse));
      const __m256i words = _mm256_permute4x64_epi64(_mm256_packus_epi32(a, b), 0xd8);
      const __m256i low = _mm256_and_si256(words, _mm256_set1_epi16(255));
      const __m256i bytes = _mm256_packus_epi16(low, _mm256_srli_epi16(words, 8));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(at), _mm256_permute4x64_epi64(bytes, 0xd8));
    }
  }
}

}  // namespace lanner
