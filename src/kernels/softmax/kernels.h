// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "base/isa.h"

namespace lanner {

// One row: y[size] = softmax(x[size]). y may be x.
using SoftmaxFn = void (*)(const float* x, int size, float* y);

struct SoftmaxKernel {
  const char* name;
  Isa needs;
  SoftmaxFn row;
};

extern const SoftmaxKernel kSoftmaxAvx512;
extern const SoftmaxKernel kSoftmaxAvx2;
extern const SoftmaxKernel kSoftmaxScalar;

// Best first; the last one runs everywhere.
std::span<const SoftmaxKernel* const> softmax_kernels();

const SoftmaxKernel& select_softmax(Isa isa = cpu_isa());

}  // namespace lanner
