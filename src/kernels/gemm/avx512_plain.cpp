// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/kernels.h"
#include "kernels/gemm/row_ops.h"
#include "kernels/gemm/vec_avx512.h"
// After the vectors it is written in.
#include "kernels/gemm/plain_tiles.h"

namespace lanner {

static constexpr Isa kNeeds{Isa::kAvx512};

static const GemmKernel kKernels[] = {
    {"avx512.fp32",
     GemmGroup::kF32,
     kNeeds,
     &kActivations,
     finish,
     {{kWideRows, GemmX::kF32, plain_wide<PlainF32>, nullptr, 0, 0},
      {kAllRows, GemmX::kF32, plain_tile<PlainF32>, nullptr, 0, kTilePanels},
      {}}},
    {"avx512.fp16",
     GemmGroup::kF16,
     kNeeds,
     &kActivations,
     finish,
     {{kWideRows, GemmX::kF32, plain_wide<PlainF16>, nullptr, 0, 0},
      {kAllRows, GemmX::kF32, plain_tile<PlainF32>, plain_unpack<PlainF16>, 64, kTilePanels},
      {}}},
    {"avx512.bf16",
     GemmGroup::kBf16,
     kNeeds,
     &kActivations,
     finish,
     {{kWideRows, GemmX::kF32, plain_wide<PlainBf16>, nullptr, 0, 0},
      {kAllRows, GemmX::kF32, plain_tile<PlainF32>, plain_unpack<PlainBf16>, 128, kTilePanels},
      {}}},
};

const GemmKernelTable kGemmAvx512 = {kKernels, 3};

}  // namespace lanner
