// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/tensor.h"
#include "base/thread_pool.h"

namespace lanner {

// Root mean square normalisation, row by row (Zhang & Sennrich 2019, arXiv 1910.07467):
//
//   y[t, i] = x[t, i] / sqrt(mean_j(x[t, j]^2) + epsilon) * weight[i]
//
//   x       [num_tokens, hidden]  fp32, any row stride
//   weight  [hidden]              fp32
//   y       [num_tokens, hidden]  fp32, any row stride, may be x itself
//
// Throws Error(kInvalidArgument) when shapes or types do not match.
void rms_norm(const Tensor& x, const Tensor& weight, float epsilon, const Tensor& y,
              ThreadPool& threads);

// The same over each head of a row on its own, all with one weight (the norm of q and k in QK-norm
// models):
//
//   x       [num_tokens, num_heads * head_dim]  fp32, any row stride
//   weight  [head_dim]                          fp32
//   y       [num_tokens, num_heads * head_dim]  fp32, any row stride, may be x itself
//
// Throws Error(kInvalidArgument) when shapes or types do not match.
void rms_norm_per_head(const Tensor& x, const Tensor& weight, float epsilon, const Tensor& y,
                       ThreadPool& threads);

}  // namespace lanner
