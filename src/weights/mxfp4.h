// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/thread_pool.h"
#include "weights/checkpoint.h"

namespace lanner {

inline constexpr int64_t kMxfp4Elements = 32;  // of one block

// A matrix in MXFP4 (OCP Microscaling Formats 1.0) as the published GPT-OSS files have it, in the
// type q8_0, which holds the same values: twice an e2m1 number is an integer of up to 12, half of
// the block's power of two an fp16.
//
//   values  [..., rows, blocks, 16]  uint8: two elements, the first in the low bits
//   scales  [..., rows, blocks]      uint8: exponent + 127
//
// Returns [all rows, blocks * 32]. Throws Error(kUnsupported) naming `name` for a scale that fp16
// cannot hold, Error(kInvalidArgument) for other shapes.
CheckpointTensor mxfp4_to_q8_0(const Tensor& values, const Tensor& scales, const std::string& name,
                               ThreadPool& threads);

// The same for ggml's blocks: the exponent, then 16 bytes whose low bits are the first 16 elements
// and whose high bits are the others. `blocks` are those of a matrix (or of one row) of `shape`.
CheckpointTensor ggml_mxfp4_to_q8_0(const uint8_t* blocks, const Shape& shape,
                                    const std::string& name);

}  // namespace lanner
