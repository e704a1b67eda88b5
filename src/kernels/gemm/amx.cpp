// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/amx_tiles.h"

namespace lanner {

const GemmKernelTable kGemmAmx = {kAmxKernels, kNumAmxKernels};

}  // namespace lanner
