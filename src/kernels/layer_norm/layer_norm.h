// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/tensor.h"
#include "base/thread_pool.h"

namespace lanner {

// Layer normalisation, row by row (Ba et al. 2016, arXiv 1607.06450):
//
//   y[t, i] = (x[t, i] - mean_j(x[t, j])) / sqrt(variance_j(x[t, j]) + epsilon) * weight[i] +
//   bias[i]
//
//   x       [num_tokens, hidden]  fp32, any row stride
//   weight  [hidden]              fp32; null: 1
//   bias    [hidden]              fp32; null: 0
//   y       [num_tokens, hidden]  fp32, any row stride, may be x itself
//
// The variance is the mean of squares (not divided by hidden - 1). Throws Error(kInvalidArgument)
// when shapes or types do not match.
void layer_norm(const Tensor& x, const Tensor* weight, const Tensor* bias, float epsilon,
                const Tensor& y, ThreadPool& threads);

// The same over each head of a row on its own:
//
//   x       [num_tokens, num_heads * head_dim]          fp32, any row stride
//   weight  [head_dim], or [num_heads * head_dim]: one for each head
//   bias    as the weight; null: 0
//   y       [num_tokens, num_heads * head_dim]          fp32, any row stride, may be x itself
//
// Throws Error(kInvalidArgument) when shapes or types do not match.
void layer_norm_per_head(const Tensor& x, int head_dim, const Tensor& weight, const Tensor* bias,
                         float epsilon, const Tensor& y, ThreadPool& threads);

}  // namespace lanner
