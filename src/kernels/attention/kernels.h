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
//   queries     as `pack` wrote them: [head_dim][rows] fp32, scaled; kernels that multiply bytes
//               have [head_dim / 4][rows][4] int8, then a scale and an offset per row; those that
//               multiply pairs of bf16 have [head_dim / 2][rows][2]
//   score tile  [panels][rows][16]  fp32: scores, then the weights of V (softmax numerators, for
//               int8 times V's scales), in whatever form `values` reads
//   sums        [rows][stride]      fp32, stride a multiple of 16 and at least v_head_dim
//
// So every operand of an inner loop is at a constant distance from one pointer. A row's result has
// the same bits whichever rows share its tile and whichever tokens outside its mask are in the
// panels: sums run over head_dim and over tokens one by one, in order, or are integers.
//
// Arrays of panels go on for kAttentionAhead entries past num_panels: what will be read next (a
// decode chunk has so many panels: after its K comes its V, then the K of the next chunk). Few
// rows leave time to fetch it, so far ahead and into L2 (into L1 there are too few misses under way
// at once: it gives 70 % of the bandwidth instead of all).
inline constexpr int kAttentionAhead = 16;

// q[r] is the row of head_dim elements of query r; `rotated` as in KvLayout. Takes
// attention_query_bytes() of memory.
using AttentionPackFn = void (*)(const float* const* q, int rows, int head_dim, float scale,
                                 bool rotated, std::byte* queries);
constexpr int64_t attention_query_bytes(int rows, int head_dim) {
  return int64_t{rows} * (head_dim + 4) * 4;
}

// tile[p][r][t] = sum_d queries[d][r] * k_panels[p][d][t]
using AttentionScoresFn = void (*)(const std::byte* queries, int rows, int head_dim,
                                   const std::byte* const* k_panels, int num_panels, float* tile);

// What one row sees of a tile, in columns (tokens) from the tile's first panel on.
struct AttentionRow {
  int begin = 0;       // first column that it may see
  int end = 0;         // one past the last
  float soft_cap = 0;  // 0: none
  float slope = 0;     // ALiBi: score += slope * (distance + column)
  int distance = 0;    // position of column 0 minus that of the query
  // int8: the V panels, each with its scales so many bytes from its beginning.
  const std::byte* const* v_panels = nullptr;
  int64_t v_scale_offset = 0;
  // kFixed16: bytes of each V panel to fetch meanwhile.
  int64_t fetch_begin = 0;
  int64_t fetch_end = 0;
};

struct AttentionRowResult {
  float max = 0;           // of the scores seen
  float sum = 0;           // of exp(score - max)
  float weight_scale = 1;  // what an integer of the weights is worth
};

// What a kernel's softmax leaves in the tile for its `values`.
enum class AttentionWeights {
  kNumerators,  // exp(score - max), fp32
  kScaled,      // the same times the scale of the token's V, fp32
  // kScaled in units of 1/65535 of the row's largest, as two bytes: of a panel's sixteen tokens
  // first the low ones, then the high ones. Probabilities in one byte would cost far more accuracy
  // than the rest of an int8 cache; two cost none that can be measured.
  kFixed16,
  // exp(score - max) in bf16, the sixteen of a panel side by side.
  kBf16,
};

// One row of a tile in place: scores become the weights of V, made of exp(score - max) and 0 where
// the row may not look. `scores` is the row's first element, panels are `panel_stride` elements
// apart. max is -inf and sum 0 if it may look nowhere.
using AttentionSoftmaxFn = void (*)(float* scores, int64_t panel_stride, int num_panels,
                                    const AttentionRow& row, AttentionRowResult* result);

// sums[r][j] += sum_t weight[t][r] * V[t][j] for the tokens first <= t < last, counted from the
// first panel; at most kMaxValueTokens, so that 32-bit sums of bytes hold. A kernel may take in
// tokens beside those whose weights are 0 for all rows.
inline constexpr int kMaxValueTokens = 65536;
using AttentionValuesFn = void (*)(const float* tile, int rows, const std::byte* const* v_panels,
                                   int first, int last, int v_head_dim,
                                   const AttentionRowResult* results, float* sums, int64_t stride);

// x[n] = x[n] * x_factor + y[n] * y_factor; n is a multiple of 16.
using AttentionMergeFn = void (*)(float* x, float x_factor, const float* y, float y_factor,
                                  int64_t n);

struct AttentionKernel {
  const char* name;
  DType kv_dtype;
  Isa needs;
  int max_rows;
  AttentionWeights weights;  // kFixed16: the queries are int8, too; kBf16: bf16
  AttentionPackFn pack;
  AttentionScoresFn scores;
  AttentionSoftmaxFn softmax;
  AttentionValuesFn values;
  AttentionMergeFn merge;
};

// int8 with byte dot products: queries in int8, weights in 16 bits.
extern const AttentionKernel kAttentionAvx512Vnni[1];
extern const AttentionKernel kAttentionAvxVnni[1];
// bf16 with dot products of pairs: queries and weights in bf16.
extern const AttentionKernel kAttentionAvx512Bf16[1];
// By KV type: fp32, fp16, bf16, int8 (widened).
extern const AttentionKernel kAttentionAvx512[4];
extern const AttentionKernel kAttentionAvx2[4];
extern const AttentionKernel kAttentionScalar[4];

// Best first; the last ones run everywhere.
std::span<const AttentionKernel* const> attention_kernels();

// Throws Error(kUnsupported) naming the type.
const AttentionKernel& select_attention(DType kv_dtype, Isa isa = cpu_isa());

}  // namespace lanner
