// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"
#include "kernels/gemm/layouts.h"

namespace lanner {

// The group whose layout holds a block type's values exactly.
GemmGroup block_group(DType dtype);

// Writes row `row` of a panel of that group: k values of a block type, exactly as they are. The
// panel is zero before, so that what is padded multiplies to zero.
void repack_block_row(DType dtype, const std::byte* blocks, int64_t k, int row, std::byte* panel);

}  // namespace lanner
