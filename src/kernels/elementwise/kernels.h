// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "base/isa.h"

namespace lanner {

struct ElementwiseKernel {
  const char* name;
  Isa needs;
  // y[n] = a x[n] + b y[n]; with b = 0 y is not read. In all of them y may be x.
  void (*scaled_add)(float a, const float* x, float b, int64_t n, float* y);
  // y[n] = x[n] * factors[n]
  void (*multiply)(const float* x, const float* factors, int64_t n, float* y);
  // y[n] = cap * tanh(x[n] / cap)
  void (*soft_cap)(float cap, const float* x, int64_t n, float* y);
  // y[n] = x[n] within [-limit, limit]
  void (*clamp)(float limit, const float* x, int64_t n, float* y);
};

extern const ElementwiseKernel kElementwiseAvx512;
extern const ElementwiseKernel kElementwiseAvx2;
extern const ElementwiseKernel kElementwiseScalar;

// Best first; the last one runs everywhere.
std::span<const ElementwiseKernel* const> elementwise_kernels();

const ElementwiseKernel& select_elementwise(Isa isa = cpu_isa());

}  // namespace lanner
