// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "base/tensor.h"
#include "base/thread_pool.h"

namespace lanner {

// The embedding of each token: y[t] = table[ids[t]]
//
//   table  [vocab, hidden]       any type that `convert` turns into fp32, block types too; any row
//                                stride
//   ids    [num_tokens]          each in [0, vocab)
//   y      [num_tokens, hidden]  fp32, any row stride
//
// The row conversion is `convert`'s kernel for the table's type: this op has none of its own.
// Throws Error(kInvalidArgument) when shapes do not match or an id is out of range (nothing is
// written then), Error(kUnsupported) for another type of table.
void embedding(const Tensor& table, std::span<const int32_t> ids, const Tensor& y,
               ThreadPool& threads);

}  // namespace lanner
