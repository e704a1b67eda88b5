// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "base/isa.h"

namespace lanner {

// One row: y[size] = (x[size] - mean) / deviation * weight[size] + bias[size]. weight and bias may
// be null, y may be x.
using LayerNormFn = void (*)(const float* x, const float* weight, const float* bias, float epsilon,
                             int size, float* y);

struct LayerNormKernel {
  const char* name;
  Isa needs;
  LayerNormFn row;
};

extern const LayerNormKernel kLayerNormAvx512;
extern const LayerNormKernel kLayerNormAvx2;
extern const LayerNormKernel kLayerNormScalar;

// Best first; the last one runs everywhere.
std::span<const LayerNormKernel* const> layer_norm_kernels();

const LayerNormKernel& select_layer_norm(Isa isa = cpu_isa());

}  // namespace lanner
