// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "base/tensor.h"
#include "base/thread_pool.h"
#include "base/workspace.h"
#include "kernels/gemm/gemm.h"

namespace lanner {

// Consecutive rows of a grouped GEMM and the parts of the packed weight they are multiplied with:
// the tokens of one expert.
struct GemmRowGroup {
  int part_begin = 0;  // of the parts that the weight was packed from
  int part_end = 0;
  int64_t row_begin = 0;
  int64_t row_end = 0;
};

// y[r] = x[x_rows[r]] * w_g^T (+ bias_g) for every row r of every group g, w_g [n, k] being the
// group's parts of w, one below the other.
//
//   x       [m, k]  fp32, any row stride
//   x_rows  [rows] in [0, m); none: row r of y takes row r of x
//   bias    [w.n()] of all parts, or null
//   y       [rows, n]  fp32, any row stride; n is the same for all groups. Must not overlap x
//
// Only the weights of the groups are read. The arithmetic of a row is that of gemm(), and does not
// depend on the other rows or on the number of threads. All threads work on one list of tasks, each
// some panels of one group for some of its rows, so groups of very different sizes keep them all
// busy. Throws Error(kInvalidArgument) when shapes do not match.
void grouped_gemm(const Tensor& x, std::span<const int32_t> x_rows, const PackedWeight& w,
                  std::span<const GemmRowGroup> groups, const float* bias, const Tensor& y,
                  Workspace& workspace, ThreadPool& threads);

}  // namespace lanner
