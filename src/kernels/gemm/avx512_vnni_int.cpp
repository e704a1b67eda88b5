// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/kernels.h"
#include "kernels/gemm/row_ops.h"
#include "kernels/gemm/vec_avx512.h"
// After the vectors it is written in.
#include "kernels/gemm/int_tiles.h"

namespace lanner {

static constexpr Isa kNeeds{Isa::kAvx512, Isa::kAvx512Vnni};

static const GemmKernel kKernels[] = {
    int8_kernel("avx512_vnni.int8", kNeeds),
    group_kernel<GemmGroup::kI4G32>("avx512_vnni.int4g32", kNeeds),
    group_kernel<GemmGroup::kI4G64>("avx512_vnni.int4g64", kNeeds),
    group_kernel<GemmGroup::kI4G128>("avx512_vnni.int4g128", kNeeds),
    group_kernel<GemmGroup::kI4G32M>("avx512_vnni.int4g32m", kNeeds),
    group_kernel<GemmGroup::kI8G32>("avx512_vnni.int8g32", kNeeds),
    group_kernel<GemmGroup::kI8G32M>("avx512_vnni.int8g32m", kNeeds),
    group_kernel<GemmGroup::kI4G32MK>("avx512_vnni.int4g32mk", kNeeds),
    group_kernel<GemmGroup::kI8G32MK>("avx512_vnni.int8g32mk", kNeeds),
    group_kernel<GemmGroup::kI8G16K>("avx512_vnni.int8g16k", kNeeds),
    group_kernel<GemmGroup::kI4G16MK>("avx512_vnni.int4g16mk", kNeeds),
    group_kernel<GemmGroup::kI4G16K>("avx512_vnni.int4g16k", kNeeds),
};

const GemmKernelTable kGemmAvx512Vnni = {kKernels, 12};

}  // namespace lanner
