// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "kernels/convert/convert.h"

namespace lanner {

struct ConvertKernel {
  DType from;
  DType to;
  ConvertRowFn row;
};

// What one file offers. Every kernel of a pair of types gives the same bits as the scalar one (NaNs
// aside: their payload may differ).
struct ConvertKernelTable {
  const char* name;
  Isa needs;
  const ConvertKernel* kernels;
  int num_kernels;

  std::span<const ConvertKernel> list() const {
    return {kernels, static_cast<size_t>(num_kernels)};
  }
};

extern const ConvertKernelTable kConvertAvx512;
extern const ConvertKernelTable kConvertAvx2;
extern const ConvertKernelTable kConvertScalar;        // plain types
extern const ConvertKernelTable kConvertScalarBlocks;  // block types

// Best first; the scalar tables together hold every pair there is.
std::span<const ConvertKernelTable* const> convert_kernel_tables();

}  // namespace lanner
