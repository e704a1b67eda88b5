// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/dtype.h"
#include "base/isa.h"

namespace lanner {

// The arithmetic of attention on one tile: up to max_rows rows, each one query of one head of a KV
// group, against a run of panels (sixteen tokens, KvLayout) of one KV head. The op lays out the
// work.
//
//   queries     [head_dim][rows]    fp32, scaled
//   score tile  [panels][rows][16]  fp32: scores, then softmax numerators
//   sums        [rows][stride]      fp32, stride a multiple of 16 and at least v_head_dim
//
// So every operand of an inner loop is at a constant distance from one pointer. A row's result has
// the same bits whichever rows share its tile and whichever tokens outside its mask are in the
// panels: sums run over head_dim and over tokens one by one, in order.

// tile[p][r][t] = sum_d queries[d][r] * k_panels[p][d][t]
using AttentionScoresFn = void (*)(const float* queries, int rows, int head_dim,
                                   const std::byte* const* k_panels, int num_panels, float* tile);

// What one row sees of a tile, in columns (tokens) from the tile's first panel on.
struct AttentionRow {
  int begin = 0;       // first column that it may see
  int end = 0;         // one past the last
  float soft_cap = 0;  // 0: none
  float slope = 0;     // ALiBi: score += slope * (distance + column)
  int distance = 0;    // position of column 0 minus that of the query
};

// One row of a tile in place: scores become exp(score - max), 0 where it may not look. `scores` is
// the row's first element, panels are `panel_stride` elements apart. max is -inf and sum 0 if it
// may look nowhere.
using AttentionSoftmaxFn = void (*)(float* scores, int64_t panel_stride, int num_panels,
                                    const AttentionRow& row, float* max, float* sum);

// sums[r][j] += sum_t tile[t / 16][r][t % 16] * V[t][j] for the tokens first <= t < last, counted
// from the first panel. v_panels[p] is the V row of the panel's first token.
using AttentionValuesFn = void (*)(const float* tile, int rows, const std::byte* const* v_panels,
                                   int first, int last, int v_head_dim, float* sums,
                                   int64_t stride);

// x[n] = x[n] * x_factor + y[n] * y_factor; n is a multiple of 16.
using AttentionMergeFn = void (*)(float* x, float x_factor, const float* y, float y_factor,
                                  int64_t n);

struct AttentionKernel {
  const char* name;
  DType kv_dtype;
  Isa needs;
  int max_rows;
  AttentionScoresFn scores;
  AttentionSoftmaxFn softmax;
  AttentionValuesFn values;
  AttentionMergeFn merge;
};

// By KV type: fp32, fp16, bf16.
extern const AttentionKernel kAttentionAvx512[3];
extern const AttentionKernel kAttentionAvx2[3];
extern const AttentionKernel kAttentionScalar[3];

// Best first; the last ones run everywhere.
std::span<const AttentionKernel* const> attention_kernels();

// Throws Error(kUnsupported) naming the type.
const AttentionKernel& select_attention(DType kv_dtype, Isa isa = cpu_isa());

}  // namespace lanner
