// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/tensor.h"
#include "base/thread_pool.h"

namespace lanner {

// Softmax, row by row, in its exact form (the largest element is taken off first):
//
//   y[t, i] = exp(x[t, i] - max_j x[t, j]) / sum_j exp(x[t, j] - max_j x[t, j])
//
//   x  [num_rows, size]  fp32, any row stride; -inf masks an element out
//   y  [num_rows, size]  fp32, any row stride, may be x itself
//
// A row whose elements are all -inf becomes zeros. A row with a NaN or +inf becomes NaN in at least
// one element. Throws Error(kInvalidArgument) when shapes or types do not match.
void softmax(const Tensor& x, const Tensor& y, ThreadPool& threads);

}  // namespace lanner
