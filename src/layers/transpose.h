// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>

#include "base/tensor.h"

namespace lanner {

// x [rows, columns] of a plain type to [columns, rows], contiguous, in memory of x.bytes() bytes.
// Throws Error(kUnsupported) naming the tensor for a type whose elements are no whole bytes.
void transpose(const Tensor& x, std::byte* to, const std::string& name);

}  // namespace lanner
