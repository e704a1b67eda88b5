// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "base/float16.h"
#include "base/kv_layout.h"
#include "kernels/attention/kernels.h"
#include "kernels/attention/pack.h"
#include "kernels/hadamard.h"

namespace lanner {
namespace {

constexpr int kPanelTokens = KvLayout::kPanelTokens;

float from_fp32(float x) { return x; }
float from_fp16(uint16_t x) { return fp16_to_fp32(x); }
float from_bf16(uint16_t x) { return bf16_to_fp32(x); }

// Pack: elements of a token that lie side by side in a K panel.
template <typename T, float (*Widen)(T), int Pack>
void scores(const std::byte* queries, int rows, int head_dim, const std::byte* const* k_panels,
            int num_panels, float* tile) {
  const auto* packed = reinterpret_cast<const float*>(queries);
  for (int p = 0; p < num_panels; ++p) {
    const T* k = reinterpret_cast<const T*>(k_panels[p]);
    for (int r = 0; r < rows; ++r) {
      float* to = tile + (int64_t{p} * rows + r) * kPanelTokens;
      std::fill_n(to, kPanelTokens, 0.0f);
      for (int d = 0; d < head_dim; ++d) {
        const float q = packed[int64_t{d} * rows + r];
        const T* row = k + int64_t{d / Pack} * kPanelTokens * Pack + d % Pack;
        for (int t = 0; t < kPanelTokens; ++t) to[t] += q * Widen(row[t * Pack]);
      }
    }
  }
}

// K = scale * (byte - 128), four elements of a token side by side.
void scores_int8(const std::byte* queries, int rows, int head_dim, const std::byte* const* k_panels,
                 int num_panels, float* tile) {
  const auto* packed = reinterpret_cast<const float*>(queries);
  for (int p = 0; p < num_panels; ++p) {
    const auto* scales =
        reinterpret_cast<const float*>(k_panels[p] + (head_dim + 3) / 4 * 4 * kPanelTokens);
    for (int r = 0; r < rows; ++r) {
      for (int t = 0; t < kPanelTokens; ++t) {
        float sum = 0;
        for (int d = 0; d < head_dim; ++d) {
          const std::byte byte = k_panels[p][(d / 4 * kPanelTokens + t) * 4 + d % 4];
          sum += packed[int64_t{d} * rows + r] * static_cast<float>(static_cast<int>(byte) - 128);
        }
        tile[(int64_t{p} * rows + r) * kPanelTokens + t] = sum * scales[t];
      }
    }
  }
}

template <bool kIsInt8>
void softmax(float* scores, int64_t panel_stride, int num_panels, const AttentionRow& row,
             AttentionRowResult* result) {
  const auto at = [&](int column) -> float& {
    return scores[column / kPanelTokens * panel_stride + column % kPanelTokens];
  };
  float max = -INFINITY;
  for (int i = row.begin; i < row.end; ++i) {
    float score = at(i);
    if (row.soft_cap > 0) score = row.soft_cap * std::tanh(score / row.soft_cap);
    if (row.slope != 0) score += row.slope * static_cast<float>(row.distance + i);
    at(i) = score;
    max = std::max(max, score);
  }
  double total = 0;
  for (int i = 0; i < num_panels * kPanelTokens; ++i) {
    const bool seen = row.begin <= i && i < row.end;
    at(i) = seen ? std::exp(at(i) - max) : 0.0f;
    total += at(i);
    if (kIsInt8 && seen) {
      const std::byte* scales = row.v_panels[i / kPanelTokens] + row.v_scale_offset;
      at(i) *= reinterpret_cast<const float*>(scales)[i % kPanelTokens];
    }
  }
  result->max = max;
  result->sum = static_cast<float>(total);
}

template <typename T, float (*Widen)(T)>
void values(const float* tile, int rows, const std::byte* const* v_panels, int first, int last,
            int v_head_dim, const AttentionRowResult*, float* sums, int64_t stride) {
  for (int t = first; t < last; ++t) {
    const int panel = t / kPanelTokens;
    const int lane = t % kPanelTokens;
    const T* v = reinterpret_cast<const T*>(v_panels[panel]) + int64_t{lane} * v_head_dim;
    for (int r = 0; r < rows; ++r) {
      const float weight = tile[(int64_t{panel} * rows + r) * kPanelTokens + lane];
      for (int j = 0; j < v_head_dim; ++j) sums[r * stride + j] += weight * Widen(v[j]);
    }
  }
}

// Four tokens of a column side by side.
void values_int8(const float* tile, int rows, const std::byte* const* v_panels, int first, int last,
                 int v_head_dim, const AttentionRowResult*, float* sums, int64_t stride) {
  for (int t = first; t < last; ++t) {
    const int panel = t / kPanelTokens;
    const int lane = t % kPanelTokens;
    const std::byte* v = v_panels[panel] + int64_t{lane / 4} * v_head_dim * 4 + lane % 4;
    for (int r = 0; r < rows; ++r) {
      const float weight = tile[(int64_t{panel} * rows + r) * kPanelTokens + lane];
      for (int j = 0; j < v_head_dim; ++j) {
        sums[r * stride + j] += weight * static_cast<float>(static_cast<int8_t>(v[j * 4]));
      }
    }
  }
}

void pack(const float* const* q, int rows, int head_dim, float scale, bool rotated,
          std::byte* queries) {
  pack_queries<hadamard>(q, rows, head_dim, scale, rotated, reinterpret_cast<float*>(queries));
}

void merge(float* x, float x_factor, const float* y, float y_factor, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] = x[i] * x_factor + y[i] * y_factor;
}

}  // namespace

const AttentionKernel kAttentionScalar[4] = {
    {"scalar", DType::kF32, Isa{}, 4, AttentionWeights::kNumerators, pack,
     scores<float, from_fp32, 1>, softmax<false>, values<float, from_fp32>, merge},
    {"scalar", DType::kF16, Isa{}, 4, AttentionWeights::kNumerators, pack,
     scores<uint16_t, from_fp16, 1>, softmax<false>, values<uint16_t, from_fp16>, merge},
    {"scalar", DType::kBf16, Isa{}, 4, AttentionWeights::kNumerators, pack,
     scores<uint16_t, from_bf16, 2>, softmax<false>, values<uint16_t, from_bf16>, merge},
    {"scalar", DType::kI8, Isa{}, 4, AttentionWeights::kScaled, pack, scores_int8, softmax<true>,
     values_int8, merge},
};

}  // namespace lanner
