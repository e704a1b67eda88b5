// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/dtype.h"
#include "base/tensor.h"
#include "base/thread_pool.h"

namespace lanner {

// Quantised weights as files hold them: row after row, from which packing gives the same bits as
// from the weights they were quantised from.
//
//   int8       q8_0 blocks         int4g64, int4g128  blocks of an fp16 scale and nibbles
//   (blocks.h) int4       q4_0 blocks         w8a8               a row of int8, then its fp32 scale
//   int4_asym  q4_1 blocks         fp32, fp16, bf16   themselves
//
// q4_k, which nothing is packed as when it is loaded, can be stored too.

// What PackedWeight::pack holds weights of type `source` as. Throws Error(kUnsupported) as it does.
DType packed_dtype(DType source, std::optional<DType> wanted);

// The type of a tensor that holds what is packed as `packing`.
DType stored_dtype(DType packing);

// Bytes of a row of k values; nothing if they are no whole number of blocks.
std::optional<int64_t> stored_row_bytes(DType packing, int64_t k);

// Rows of stored_row_bytes() each as a tensor [n, k].
Tensor stored_tensor(std::byte* rows, DType packing, int64_t n, int64_t k);

// x [n, k] of any type that can be packed, quantised as PackedWeight::pack does it, to rows
// [n, stored_row_bytes]; blocks that pack() would leave as they are (packed_dtype) too. Throws
// Error(kUnsupported) as pack() does, Error(kInvalidArgument) for a k without stored_row_bytes().
void quantize_rows(const Tensor& x, DType packing, std::byte* rows, ThreadPool& threads);

}  // namespace lanner
