// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "base/isa.h"
#include "base/tensor.h"
#include "base/thread_pool.h"

namespace lanner {

// y[n] = x[n] in another type, round to nearest even. n is a whole number of blocks of block types.
using ConvertRowFn = void (*)(const void* x, int64_t n, void* y);

// The fastest row conversion that `isa` can run: from any type of dtypes() but int32 and those
// that weights are only packed as to
// fp32 (block types are dequantised), and from fp32 to fp16 and bf16.
// Throws Error(kUnsupported) naming both types for any other pair.
ConvertRowFn select_convert(DType from, DType to, Isa isa = cpu_isa());

// y = x, [num_rows, n] both, by rows over the threads.
// Throws Error(kInvalidArgument) when the shapes differ, Error(kUnsupported) as above.
void convert(const Tensor& x, const Tensor& y, ThreadPool& threads);

}  // namespace lanner
