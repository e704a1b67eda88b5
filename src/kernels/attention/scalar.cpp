// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "base/float16.h"
#include "base/kv_layout.h"
#include "kernels/attention/kernels.h"

namespace lanner {
namespace {

constexpr int kPanelTokens = KvLayout::kPanelTokens;

float from_fp32(float x) { return x; }
float from_fp16(uint16_t x) { return fp16_to_fp32(x); }
float from_bf16(uint16_t x) { return bf16_to_fp32(x); }

// Pack: elements of a token that lie side by side in a K panel.
template <typename T, float (*Widen)(T), int Pack>
void scores(const float* queries, int rows, int head_dim, const std::byte* const* k_panels,
            int num_panels, float* tile) {
  for (int p = 0; p < num_panels; ++p) {
    const T* k = reinterpret_cast<const T*>(k_panels[p]);
    for (int r = 0; r < rows; ++r) {
      float* to = tile + (int64_t{p} * rows + r) * kPanelTokens;
      std::fill_n(to, kPanelTokens, 0.0f);
      for (int d = 0; d < head_dim; ++d) {
        const float q = queries[int64_t{d} * rows + r];
        const T* row = k + int64_t{d / Pack} * kPanelTokens * Pack + d % Pack;
        for (int t = 0; t < kPanelTokens; ++t) to[t] += q * Widen(row[t * Pack]);
      }
    }
  }
}

void softmax(float* scores, int64_t panel_stride, int num_panels, const AttentionRow& row,
             float* max, float* sum) {
  const auto at = [&](int column) -> float& {
    return scores[column / kPanelTokens * panel_stride + column % kPanelTokens];
  };
  *max = -INFINITY;
  for (int i = row.begin; i < row.end; ++i) {
    float score = at(i);
    if (row.soft_cap > 0) score = row.soft_cap * std::tanh(score / row.soft_cap);
    if (row.slope != 0) score += row.slope * static_cast<float>(row.distance + i);
    at(i) = score;
    *max = std::max(*max, score);
  }
  double total = 0;
  for (int i = 0; i < num_panels * kPanelTokens; ++i) {
    const bool seen = row.begin <= i && i < row.end;
    at(i) = seen ? std::exp(at(i) - *max) : 0.0f;
    total += at(i);
  }
  *sum = static_cast<float>(total);
}

template <typename T, float (*Widen)(T)>
void values(const float* tile, int rows, const std::byte* const* v_panels, int first, int last,
            int v_head_dim, float* sums, int64_t stride) {
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

void merge(float* x, float x_factor, const float* y, float y_factor, int64_t n) {
  for (int64_t i = 0; i < n; ++i) x[i] = x[i] * x_factor + y[i] * y_factor;
}

}  // namespace

const AttentionKernel kAttentionScalar[3] = {
    {"scalar", DType::kF32, Isa{}, 4, scores<float, from_fp32, 1>, softmax,
     values<float, from_fp32>, merge},
    {"scalar", DType::kF16, Isa{}, 4, scores<uint16_t, from_fp16, 1>, softmax,
     values<uint16_t, from_fp16>, merge},
    {"scalar", DType::kBf16, Isa{}, 4, scores<uint16_t, from_bf16, 2>, softmax,
     values<uint16_t, from_bf16>, merge},
};

}  // namespace lanner
