// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "base/isa.h"
#include "kernels/rope/rope.h"

namespace lanner {

// Turns the `pairs` pairs of one head in place: halves x[i], x[i + pairs]; pairs x[2i], x[2i + 1].
using RopeFn = void (*)(float* x, const float* cos, const float* sin, int pairs);

struct RopeKernel {
  const char* name;
  Isa needs;
  RopeFn head[2];  // by RopeStyle
};

extern const RopeKernel kRopeAvx512;
extern const RopeKernel kRopeAvx2;
extern const RopeKernel kRopeScalar;

// Best first; the last one runs everywhere.
std::span<const RopeKernel* const> rope_kernels();

const RopeKernel& select_rope(Isa isa = cpu_isa());

}  // namespace lanner
