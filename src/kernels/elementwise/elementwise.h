// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/tensor.h"
#include "base/thread_pool.h"

namespace lanner {

// Small functions of each element on its own. x and y are [num_tokens, size] fp32 with any row
// stride and y may be x itself. All throw Error(kInvalidArgument) when shapes or types do not
// match.

// y = a x + b y; with b = 0 y is not read.
void scaled_add(float a, const Tensor& x, float b, const Tensor& y, ThreadPool& threads);

// y[t, i] = x[t, i] * factors[i]; factors [size] fp32.
void multiply_columns(const Tensor& x, const Tensor& factors, const Tensor& y, ThreadPool& threads);

// y = cap * tanh(x / cap), cap > 0 (Gemma 2, arXiv 2408.00118).
void soft_cap(float cap, const Tensor& x, const Tensor& y, ThreadPool& threads);

// y = x within [-limit, limit], limit > 0; NaN stays.
void clamp(float limit, const Tensor& x, const Tensor& y, ThreadPool& threads);

}  // namespace lanner
