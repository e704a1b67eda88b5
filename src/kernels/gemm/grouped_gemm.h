// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "base/tensor.h"
#include "base/thread_pool.h"
#include "base/workspace.h"
#include "kernels/gemm/gemm.h"

namespace lanner {

// One group of a grouped GEMM: y = x[x_rows] * w_g^T (+ bias_g), w_g [n, k] being some of the parts
// that the weight was packed from, one below the other. An expert with its tokens, for one.
struct GemmGroupItem {
  int part_begin = 0;
  int part_end = 0;
  Tensor x = {};                         // [m, k] fp32, any row stride
  std::span<const int32_t> x_rows = {};  // [rows] in [0, m); none: all m
  Tensor y = {};                         // [rows, n] fp32, any row stride; must not overlap an x
};

// Multiplies all groups. bias is that of all parts, [w.n()], or null. Only the weights of the
// groups are read. The arithmetic of a row is that of gemm(), and does not depend on the other rows
// or on the number of threads. All threads work on one list of tasks, each some panels of one group
// for some of its rows, so groups of very different sizes keep them all busy. Throws
// Error(kInvalidArgument) when shapes do not match.
void grouped_gemm(std::span<const GemmGroupItem> groups, const PackedWeight& w, const float* bias,
                  Workspace& workspace, ThreadPool& threads);

}  // namespace lanner
