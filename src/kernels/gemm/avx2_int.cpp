// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/kernels.h"
#include "kernels/gemm/row_ops.h"
#include "kernels/gemm/vec_avx2.h"
// After the vectors it is written in.
#include "kernels/gemm/int_tiles.h"

namespace lanner {

static constexpr Isa kNeeds{Isa::kAvx2};

static const GemmKernel kKernels[] = {
    int8_kernel("avx2.int8", kNeeds),
    group_kernel<GemmGroup::kI4G32>("avx2.int4g32", kNeeds),
    group_kernel<GemmGroup::kI4G64>("avx2.int4g64", kNeeds),
    group_kernel<GemmGroup::kI4G128>("avx2.int4g128", kNeeds),
    group_kernel<GemmGroup::kI4G32M>("avx2.int4g32m", kNeeds),
    group_kernel<GemmGroup::kI8G32>("avx2.int8g32", kNeeds),
    group_kernel<GemmGroup::kI8G32M>("avx2.int8g32m", kNeeds),
    group_kernel<GemmGroup::kI4G32MK>("avx2.int4g32mk", kNeeds),
    group_kernel<GemmGroup::kI8G32MK>("avx2.int8g32mk", kNeeds),
    group_kernel<GemmGroup::kI8G16K>("avx2.int8g16k", kNeeds),
    group_kernel<GemmGroup::kI4G16MK>("avx2.int4g16mk", kNeeds),
    group_kernel<GemmGroup::kI4G16K>("avx2.int4g16k", kNeeds),
};

const GemmKernelTable kGemmAvx2Int = {kKernels, 12};

}  // namespace lanner
