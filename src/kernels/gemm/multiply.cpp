// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/multiply.h"

#include <algorithm>

#include <unistd.h>

#include "base/checked.h"

namespace lanner {
namespace {

// Panels that a path without blocking hands to one call: a multiple of all counts side by side.
constexpr int64_t kWidePanels = 24;
// That many AVX-512 kernels have side by side for one row of x, the most common number.
constexpr int64_t kOneRowPanels = 8;

struct CacheSizes {
  int64_t l1d;
  int64_t l2;
};

const CacheSizes& cache_sizes() {
  static const CacheSizes sizes = [] {
    const long l1d = sysconf(_SC_LEVEL1_DCACHE_SIZE);
    const long l2 = sysconf(_SC_LEVEL2_CACHE_SIZE);
    return CacheSizes{l1d > 0 ? l1d : 32 << 10, l2 > 0 ? l2 : 1 << 20};
  }();
  return sizes;
}

// acc of rows x panels to y.
void finish(const SegmentPlan& plan, const float* acc, int64_t acc_stride, GemmRange rows,
            GemmRange panels, const GemmOutput& output) {
  const GemmSegment& s = *plan.segment;
  const int64_t column = panels.begin * kPanelRows;
  const int64_t out_column = s.n_begin + column - output.first_column;
  GemmFinish f{};
  f.acc = acc;
  f.acc_stride = acc_stride;
  if (plan.path->x == GemmX::kInt8Row) {
    f.x_scale = plan.x->scale + rows.begin;
    f.w_scale = s.scale + column;
  }
  if (output.bias != nullptr) f.bias = output.bias + out_column;
  f.y = output.y.row<float>(rows.begin - output.first_row) + out_column;
  f.y_stride = output.y.row_stride();
  f.rows = rows.end - rows.begin;
  f.columns = std::min(panels.end * kPanelRows, s.n) - column;
  f.accumulate = output.accumulate;
  s.kernel->finish(f);
}

}  // namespace

SegmentPlan plan_segment(const GemmSegment& s, const GemmPath& path, int64_t rows) {
  SegmentPlan plan{.segment = &s,
                   .path = &path,
                   .x = nullptr,
                   .row_step = rows,
                   .panel_step = kWidePanels,
                   .panel_unit = rows == 1 ? kOneRowPanels : kWidePanels,
                   .tile_panels = kWidePanels,
                   .k_step = s.k_padded};
  if (path.panels == 0) return plan;
  const CacheSizes& cache = cache_sizes();
  const GemmLayout& layout = s.layout;
  plan.tile_panels = path.panels;
  plan.panel_unit = path.panels;
  // Twice the first level for the weights of a tile, which all rows use again: the second level
  // keeps up with them, and the longer a tile is, the seldomer its sums are loaded and stored.
  const int64_t bytes_per_block = path.unpack != nullptr ? path.unpacked_bytes : layout.block_bytes;
  const int64_t unit = std::max(layout.k_block, 64);
  const int64_t fitting = cache.l1d * 2 * layout.k_block / (bytes_per_block * path.panels);
  plan.k_step =
      std::min(round_up(s.k_padded, layout.k_block), std::max(fitting / unit * unit, unit));
  // A quarter of the second level for the rows of x, a quarter for the sums.
  const int64_t x_bytes = path.x == GemmX::kF32 ? 4 : path.x == GemmX::kBf16 ? 2 : 1;
  plan.row_step = std::clamp<int64_t>(cache.l2 / 4 / (plan.k_step * x_bytes), 24, 512);
  plan.row_step = round_up(ceil_div(rows, ceil_div(rows, plan.row_step)), 24);
  plan.row_step = std::min(plan.row_step, rows);
  const int64_t panels = cache.l2 / 4 / (plan.row_step * kPanelRows * 4);
  plan.panel_step = std::clamp<int64_t>(panels / path.panels, 1, 64) * path.panels;
  return plan;
}

void multiply(const SegmentPlan& plan, GemmRange rows, GemmRange panels, const GemmOutput& output,
              float* acc, std::byte* unpacked) {
  const GemmSegment& s = *plan.segment;
  const PreparedX& x = *plan.x;
  const int64_t x_bytes = x.form == GemmX::kF32 ? 4 : x.form == GemmX::kBf16 ? 2 : 1;
  GemmTile tile{};
  tile.panel_stride = s.panel_bytes;
  tile.x_stride = x.row_bytes;
  tile.x_scale_stride = x.scales;
  tile.x_sum_stride = x.sums;
  tile.acc_stride = (panels.end - panels.begin) * kPanelRows;
  tile.rows = static_cast<int>(rows.end - rows.begin);
  for (int64_t k = 0; k < s.k_padded; k += plan.k_step) {
    tile.k = std::min(plan.k_step, s.k_padded - k);
    tile.first = k == 0;
    tile.x = x.data + rows.begin * x.row_bytes + k * x_bytes;
    if (x.scale != nullptr) {
      const int64_t group = x.group > 0 ? k / x.group : 0;
      tile.x_scale = x.scale + rows.begin * x.scales + (x.group > 0 ? k / 32 : 0);
      tile.x_offset = x.offset + rows.begin * x.sums + group;
      tile.x_sum = x.sum + rows.begin * x.sums + group;
    }
    const int64_t blocks = tile.k / s.layout.k_block;
    const std::byte* w = s.data + k / s.layout.k_block * s.layout.block_bytes;
    for (int64_t p = panels.begin; p < panels.end; p += plan.tile_panels) {
      tile.panels = static_cast<int>(std::min(plan.tile_panels, panels.end - p));
      tile.w = w + p * s.panel_bytes;
      if (plan.path->unpack != nullptr) {
        tile.panel_stride = blocks * plan.path->unpacked_bytes;
        for (int i = 0; i < tile.panels; ++i) {
          plan.path->unpack(tile.w + i * s.panel_bytes, blocks, unpacked + i * tile.panel_stride);
        }
        tile.w = unpacked;
      }
      tile.acc = acc + (p - panels.begin) * kPanelRows;
      // The next tile of this step of k, or the first of the next.
      tile.next = nullptr;
      if (plan.path->panels > 0) {
        if (p + plan.tile_panels < panels.end) {
          tile.next = w + (p + plan.tile_panels) * s.panel_bytes;
        } else if (k + plan.k_step < s.k_padded) {
          tile.next = w + panels.begin * s.panel_bytes + blocks * s.layout.block_bytes;
        }
        tile.next_stride = tile.next != nullptr ? s.panel_bytes : 0;
        tile.next_bytes = blocks * s.layout.block_bytes;
      }
      plan.path->tile(tile);
    }
  }
  finish(plan, acc, tile.acc_stride, rows, panels, output);
}

}  // namespace lanner
