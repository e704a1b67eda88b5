// SPDX-License-Identifier: Apache-2.0
// For tests only: the AMX kernels on a C++ model of the tile instructions.
#pragma once

#include "kernels/gemm/kernels.h"

namespace lanner {

// The kernels of kGemmAmx on the model.
extern const GemmKernelTable kGemmAmxModel;

// Defined by the test. The model calls it for every use that hardware answers with a fault, or that
// the tile configuration does not cover.
void amx_model_fault();

}  // namespace lanner
