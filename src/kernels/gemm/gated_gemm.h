// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/tensor.h"
#include "base/thread_pool.h"
#include "base/workspace.h"
#include "kernels/activation/activation.h"
#include "kernels/gemm/gemm.h"

namespace lanner {

// y = act(x * gate^T + bias_gate) * (x * up^T + bias_up): the inside of a gated MLP (Shazeer 2020,
// arXiv 2002.05202). Products are activated while they are in the cache of the thread that made
// them, so that they never travel to memory and back.
//
//   x     [m, k]      fp32, any row stride
//   w     [2 * n, k]  gate, then up
//   bias  [2 * n] or null
//   y     [m, n]      fp32, any row stride; must not overlap x
//
// The numbers are those of gemm() and gated_activation() one after the other. Throws
// Error(kInvalidArgument) when shapes do not match.
void gated_gemm(const Tensor& x, const PackedWeight& w, const float* bias, Activation kind,
                const Tensor& y, Workspace& workspace, ThreadPool& threads);

}  // namespace lanner
