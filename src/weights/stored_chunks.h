// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/function_ref.h"
#include "base/thread_pool.h"
#include "weights/checkpoint.h"

namespace lanner {

// A matrix [n, k] of a checkpoint quantised for a file (kernels/gemm/stored_weight.h), some MiB at
// a time: on_rows gets the rows in order, uint8 [rows, bytes of a row]. What has been read of a
// mapped file leaves the memory. Throws as quantize_rows.
void quantize_in_chunks(const CheckpointTensor& matrix, DType packing, ThreadPool& threads,
                        FunctionRef<void(const Tensor& rows)> on_rows);

}  // namespace lanner
