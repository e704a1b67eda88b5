// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "base/isa.h"

namespace lanner {

// One row: y[size] = x[size] / rms(x) * weight[size]. y may be x.
using RmsNormFn = void (*)(const float* x, const float* weight, float epsilon, int size, float* y);

struct RmsNormKernel {
  const char* name;
  Isa needs;
  RmsNormFn row;
};

extern const RmsNormKernel kRmsNormAvx512;
extern const RmsNormKernel kRmsNormAvx2;
extern const RmsNormKernel kRmsNormScalar;

// Best first; the last one runs everywhere.
std::span<const RmsNormKernel* const> rms_norm_kernels();

const RmsNormKernel& select_rms_norm(Isa isa = cpu_isa());

}  // namespace lanner
