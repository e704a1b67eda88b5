// SPDX-License-Identifier: Apache-2.0
// Static, so that every object keeps its own copy (an ISA file must export nothing but its table).
#pragma once

#include "base/kv_layout.h"
#include "kernels/attention/kernels.h"
#include "kernels/vector_math_avx512.h"

namespace lanner {

// The lanes of panel p whose columns the row may see.
static inline __mmask16 seen_lanes(const AttentionRow& row, int p) {
  const int begin = row.begin - p * KvLayout::kPanelTokens;
  const int end = row.end - p * KvLayout::kPanelTokens;
  const __mmask16 before = begin > 0 ? tail_mask_avx512(begin) : static_cast<__mmask16>(0);
  return static_cast<__mmask16>(tail_mask_avx512(end) & ~before);
}

template <AttentionWeights kWeights>
static inline void softmax_avx512(float* scores, int64_t panel_stride, int num_panels,
                                  const AttentionRow& row, AttentionRowResult* result) {
  const bool empty = row.begin >= row.end;
  const int first = empty ? num_panels : row.begin / KvLayout::kPanelTokens;
  const int last =
      empty ? num_panels : (row.end + KvLayout::kPanelTokens - 1) / KvLayout::kPanelTokens;
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
          _mm512_add_epi32(lanes, _mm512_set1_epi32(row.distance + p * KvLayout::kPanelTokens));
      s = _mm512_add_ps(s, _mm512_mul_ps(slope, _mm512_cvtepi32_ps(distance)));
    }
    if (row.soft_cap > 0 || row.slope != 0) _mm512_storeu_ps(at, s);
    largest = _mm512_mask_max_ps(largest, seen_lanes(row, p), largest, s);
  }
  result->max = _mm512_reduce_max_ps(largest);

  const __m512 maximum = _mm512_set1_ps(result->max);
  __m512 total = _mm512_setzero_ps();
  __m512 largest_weight = total, sum_of_weights = total;
  for (int p = first; p < last; ++p) {
    if constexpr (kWeights == AttentionWeights::kFixed16) {
      for (int64_t i = row.fetch_begin; i < row.fetch_end; i += 64) {
        _mm_prefetch(reinterpret_cast<const char*>(row.v_panels[p] + i), _MM_HINT_T1);
      }
    }
    float* at = scores + p * panel_stride;
    const __m512 e = _mm512_maskz_mov_ps(seen_lanes(row, p),
                                         exp_avx512(_mm512_sub_ps(_mm512_loadu_ps(at), maximum)));
    total = _mm512_add_ps(total, e);
    if constexpr (kWeights == AttentionWeights::kNumerators) {
      _mm512_storeu_ps(at, e);
    } else if constexpr (kWeights == AttentionWeights::kBf16) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(at), fp32_to_bf16_avx512(e));
    } else {
      const auto* scales = reinterpret_cast<const float*>(row.v_panels[p] + row.v_scale_offset);
      const __m512 w = _mm512_maskz_mul_ps(seen_lanes(row, p), e, _mm512_loadu_ps(scales));
      _mm512_storeu_ps(at, w);
      largest_weight = _mm512_max_ps(largest_weight, w);
      sum_of_weights = _mm512_add_ps(sum_of_weights, w);
    }
  }
  result->sum = _mm512_reduce_add_ps(total);
  if constexpr (kWeights == AttentionWeights::kFixed16) {
    const float max_weight = _mm512_reduce_max_ps(largest_weight);
    // A scale that is not finite must show: a maximum does not hand on a NaN, a sum does.
    result->weight_scale = max_weight / 65535.0f + 0.0f * _mm512_reduce_add_ps(sum_of_weights);
    const __m512 inverse = _mm512_set1_ps(max_weight > 1e-30f ? 65535.0f / max_weight : 0.0f);
    for (int p = first; p < last; ++p) {
      float* at = scores + p * panel_stride;
      const __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(at), inverse));
      const __m256i words = _mm512_cvtepi32_epi16(q);
      const __m256i low = _mm256_and_si256(words, _mm256_set1_epi16(255));
      const __m256i bytes = _mm256_packus_epi16(low, _mm256_srli_epi16(words, 8));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(at), _mm256_permute4x64_epi64(bytes, 0xd8));
    }
  }
}

}  // namespace lanner
