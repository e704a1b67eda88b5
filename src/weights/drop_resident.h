// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "weights/checkpoint.h"

namespace lanner {

// Takes bytes [begin, end) of a tensor out of the resident memory where the tensor lies in a mapped
// file; a later read brings them back. Does nothing for tensors in memory of their own, or for
// bytes that are not the tensor's. Thread-safe.
void drop_resident(const CheckpointTensor& tensor, const std::byte* begin, const std::byte* end);

}  // namespace lanner
