// SPDX-License-Identifier: Apache-2.0
// int8 attention on byte dot products. Included by ISA files after a Vec that wraps their vectors:
// kLanes 32-bit lanes, kScoreRows and kValueRows rows that their registers hold.
//
// K is unsigned (q + 128), queries are signed: the instruction wants one of each. What the 128
// adds is the same for every token and is taken off by the row's offset. V is signed, the weights
// are two unsigned bytes each, which are summed apart and put together at the end.
#pragma once

#include "base/kv_layout.h"
#include "kernels/attention/kernels.h"
#include "kernels/int8_scale.h"

namespace lanner {
namespace {

constexpr int kPanelTokens = KvLayout::kPanelTokens;
// Rows up to which a tile fetches ahead: more of them come from prefill, whose K and V are in the
// cache already.
constexpr int kFetchRows = 8;

// The scores take a fifth of the time, and fetching takes all of it: what is read next is fetched
// at an even pace or not at all, because the memory has room for so many misses at once. So the
// scores fetch half of the panels ahead, the softmax the rest of them (AttentionRow), and the
// values, which take half of the time, whole panels.

constexpr int quads_of(int head_dim) { return (head_dim + 3) / 4; }

template <typename Vec, int Rows, int Panels>
void int8_scores_of_panels(const std::byte* queries, int head_dim, const std::byte* const* k_panels,
                           float* tile) {
  using VecI = typename Vec::Int;
  constexpr int kParts = kPanelTokens / Vec::kLanes;
  constexpr int kVecs = Panels * kParts;
  constexpr int kVecBytes = Vec::kLanes * 4;
  VecI sum[kVecs][Rows];
#pragma GCC unroll 16
  for (int v = 0; v < kVecs; ++v) {
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) sum[v][r] = Vec::zero();
  }
  const int quads = quads_of(head_dim);
  const auto* q = reinterpret_cast<const int32_t*>(queries);
  for (int i = 0; i < quads; ++i, q += Rows) {
    if constexpr (Rows <= kFetchRows) {
#pragma GCC unroll 16
      for (int p = 0; p < Panels; ++p) {
        if (i % 2 == p % 2) Vec::fetch(k_panels[p + kAttentionAhead] + i / 2 * 64);
      }
    }
    VecI k[kVecs];
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v) {
      k[v] = Vec::load(k_panels[v / kParts] + i * 64 + v % kParts * kVecBytes);
    }
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const VecI quad = Vec::broadcast(q[r]);
#pragma GCC unroll 16
      for (int v = 0; v < kVecs; ++v) Vec::dot(sum[v][r], k[v], quad);
    }
  }
  if constexpr (Rows <= kFetchRows) {  // the scales behind them
#pragma GCC unroll 16
    for (int p = 0; p < Panels; ++p) Vec::fetch(k_panels[p + kAttentionAhead] + quads * 64);
  }
  const auto* scales = reinterpret_cast<const float*>(q);
  const int32_t* offsets = q + Rows;
#pragma GCC unroll 16
  for (int v = 0; v < kVecs; ++v) {
    const auto k_scales = Vec::load_floats(
        reinterpret_cast<const float*>(k_panels[v / kParts] + quads * 64 + v % kParts * kVecBytes));
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const auto product = Vec::to_floats(Vec::add(sum[v][r], Vec::broadcast(offsets[r])));
      Vec::store(tile + (v / kParts * Rows + r) * kPanelTokens + v % kParts * Vec::kLanes,
                 Vec::mul(Vec::mul(product, Vec::broadcast(scales[r])), k_scales));
    }
  }
}

template <typename Vec, int Rows>
void int8_scores_of_rows(const std::byte* queries, int head_dim, const std::byte* const* k_panels,
                         int num_panels, float* tile) {
  constexpr int kPanels = Rows <= Vec::kScoreRows / 4 ? 4 : Rows <= Vec::kScoreRows / 2 ? 2 : 1;
  int p = 0;
  for (; p + kPanels <= num_panels; p += kPanels) {
    int8_scores_of_panels<Vec, Rows, kPanels>(queries, head_dim, k_panels + p,
                                              tile + int64_t{p} * Rows * kPanelTokens);
  }
  for (; p < num_panels; ++p) {
    int8_scores_of_panels<Vec, Rows, 1>(queries, head_dim, k_panels + p,
                                        tile + int64_t{p} * Rows * kPanelTokens);
  }
}

// Vectors of columns [column, + Vectors * kLanes) for the rows `row` … of a tile of `rows`; `left`
// columns are left, fewer than a vector only in the last.
template <typename Vec, int Rows, int Vectors>
void int8_values_of_columns(const float* tile, int rows, int row, const std::byte* const* v_panels,
                            int first_quad, int last_quad, int v_head_dim, int column,
                            const AttentionRowResult* results, float* sums, int64_t stride) {
  using VecI = typename Vec::Int;
  constexpr int kVecBytes = Vec::kLanes * 4;
  const int left = v_head_dim - column - (Vectors - 1) * Vec::kLanes;
  VecI low[Vectors][Rows], high[Vectors][Rows];
#pragma GCC unroll 16
  for (int j = 0; j < Vectors; ++j) {
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) low[j][r] = high[j][r] = Vec::zero();
  }
  for (unsigned quad = static_cast<unsigned>(first_quad); quad < static_cast<unsigned>(last_quad);
       ++quad) {
    const unsigned panel = quad / 4;
    const int64_t offset = (int64_t{quad % 4} * v_head_dim + column) * 4;
    const std::byte* v = v_panels[panel] + offset;
    if constexpr (Rows <= kFetchRows) {
      // A part of the panel that lies together, for these columns.
      const std::byte* next = v_panels[panel + kAttentionAhead];
      const int64_t part = int64_t{column} * kPanelTokens + quad % 4 * (Vectors * kVecBytes);
#pragma GCC unroll 16
      for (int at = 0; at < Vectors * kVecBytes; at += 64) Vec::fetch(next + part + at);
      if (column == 0 && quad % 4 == 0) Vec::fetch(next + int64_t{kPanelTokens} * v_head_dim);
    }
    VecI value[Vectors];
#pragma GCC unroll 16
    for (int j = 0; j < Vectors; ++j) {
      value[j] =
          j == Vectors - 1 ? Vec::load(v + j * kVecBytes, left) : Vec::load(v + j * kVecBytes);
    }
    const auto* weights =
        reinterpret_cast<const int32_t*>(tile + (int64_t{panel} * rows + row) * kPanelTokens) +
        quad % 4;
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const VecI lows = Vec::broadcast(weights[r * kPanelTokens]);
      const VecI highs = Vec::broadcast(weights[r * kPanelTokens + 4]);
#pragma GCC unroll 16
      for (int j = 0; j < Vectors; ++j) {
        Vec::dot(low[j][r], lows, value[j]);
        Vec::dot(high[j][r], highs, value[j]);
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) {
    const auto scale = Vec::broadcast(results[row + r].weight_scale);
    float* to = sums + (row + r) * stride + column;
#pragma GCC unroll 16
    for (int j = 0; j < Vectors; ++j) {
      const auto both =
          Vec::fma(Vec::to_floats(high[j][r]), Vec::broadcast(256.0f), Vec::to_floats(low[j][r]));
      Vec::store(to + j * Vec::kLanes,
                 Vec::fma(both, scale, Vec::load_floats(to + j * Vec::kLanes)));
    }
  }
}

template <typename Vec, int Rows>
void int8_values_of_rows(const float* tile, int rows, int row, const std::byte* const* v_panels,
                         int first_quad, int last_quad, int v_head_dim,
                         const AttentionRowResult* results, float* sums, int64_t stride) {
  constexpr int kVectors = Rows == 1 ? Vec::kLanes / 2 : Rows <= Vec::kValueRows / 2 ? 4 : 2;
  int column = 0;
  const auto run = [&]<int Vectors>() {
    for (; column + (Vectors - 1) * Vec::kLanes < v_head_dim; column += Vectors * Vec::kLanes) {
      int8_values_of_columns<Vec, Rows, Vectors>(tile, rows, row, v_panels, first_quad, last_quad,
                                                 v_head_dim, column, results, sums, stride);
    }
  };
  run.template operator()<kVectors>();
  if constexpr (kVectors > 4) run.template operator()<4>();
  if constexpr (kVectors > 2) run.template operator()<2>();
  run.template operator()<1>();
}

template <typename Vec>
void int8_values(const float* tile, int rows, const std::byte* const* v_panels, int first, int last,
                 int v_head_dim, const AttentionRowResult* results, float* sums, int64_t stride) {
  const int first_quad = first / 4;
  const int last_quad = (last + 3) / 4;
  int row = 0;
  const auto run = [&]<int Rows>() {
    for (; row + Rows <= rows; row += Rows) {
      int8_values_of_rows<Vec, Rows>(tile, rows, row, v_panels, first_quad, last_quad, v_head_dim,
                                     results, sums, stride);
    }
  };
  if constexpr (Vec::kValueRows >= 6) {
    run.template operator()<6>();
    run.template operator()<4>();
  }
  run.template operator()<3>();
  run.template operator()<2>();
  run.template operator()<1>();
}

// The rotated query in int8: [quad][rows][4], the scales [rows], the offsets [rows].
template <typename Vec>
void int8_pack(const float* const* q, int rows, int head_dim, float scale, bool rotated,
               std::byte* queries) {
  const int quads = quads_of(head_dim);
  auto* scales = reinterpret_cast<float*>(queries + int64_t{quads} * rows * 4);
  auto* offsets = reinterpret_cast<int32_t*>(scales + rows);
  alignas(64) float x[KvLayout::kMaxInt8HeadDim];
  for (int r = 0; r < rows; ++r) {
    for (int d = 0; d < head_dim; ++d) x[d] = q[r][d];
    for (int d = head_dim; d < quads * 4; ++d) x[d] = 0.0f;
    if (rotated) Vec::rotate(x, head_dim);
    const Int8Scale by = int8_scale(Vec::largest_bits(x, head_dim));
    scales[r] = by.scale * scale;
    int32_t sum = 0;
    for (int i = 0; i < quads; ++i) {
      std::byte* to = queries + (int64_t{i} * rows + r) * 4;
      for (int d = 0; d < 4; ++d) {
        const int value = by.inverse == 0.0f ? 0 : Vec::round(x[i * 4 + d] * by.inverse);
        to[d] = static_cast<std::byte>(value);
        sum += value;
      }
    }
    offsets[r] = -128 * sum;
  }
}

}  // namespace
}  // namespace lanner
