// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/tensor.h"
#include "kernels/gemm/packed_weight.h"
#include "kernels/gemm/prepared_x.h"

namespace lanner {

// How one segment is multiplied.
struct SegmentPlan {
  const GemmSegment* segment;
  const GemmPath* path;
  const PreparedX* x;
  int64_t row_step;     // rows of x that stay in the second-level cache
  int64_t panel_step;   // panels whose sums do
  int64_t panel_unit;   // panels that fill the registers: others in multiples of it
  int64_t tile_panels;  // in one call
  int64_t k_step;       // of them stay in the first-level cache

  int64_t acc_bytes() const { return row_step * panel_step * kPanelRows * 4; }
  int64_t unpacked_bytes() const {
    return path->unpack == nullptr
               ? 0
               : tile_panels * (k_step / segment->layout.k_block) * path->unpacked_bytes;
  }
};

// For `rows` rows of one thread. The plan's x is left to the caller.
SegmentPlan plan_segment(const GemmSegment& segment, const GemmPath& path, int64_t rows);

struct GemmRange {
  int64_t begin;
  int64_t end;
};

// Where products go.
struct GemmOutput {
  const Tensor& y;
  const float* bias = nullptr;  // [columns of y]
  int64_t first_row = 0;        // of the prepared x: row 0 of y
  int64_t first_column = 0;     // of the whole weight: column 0 of y
  bool accumulate = false;
};

// All of k for some rows and some panels of one segment, at most plan.row_step and plan.panel_step
// of them. `acc` and `unpacked` are the thread's scratch, of the plan's sizes.
void multiply(const SegmentPlan& plan, GemmRange rows, GemmRange panels, const GemmOutput& output,
              float* acc, std::byte* unpacked);

}  // namespace lanner
