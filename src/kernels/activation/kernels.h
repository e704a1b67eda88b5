// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "base/isa.h"
#include "kernels/activation/activation.h"

namespace lanner {

// y[n] = act(x[n]); y may be x.
using ActivationFn = void (*)(const float* x, int64_t n, float* y);
// y[n] = act(gate[n]) * up[n]; y may be gate or up.
using GatedActivationFn = void (*)(const float* gate, const float* up, int64_t n, float* y);

struct ActivationKernel {
  const char* name;
  Isa needs;
  // Both by Activation.
  ActivationFn plain[5];
  GatedActivationFn gated[5];
};

extern const ActivationKernel kActivationAvx512;
extern const ActivationKernel kActivationAvx2;
extern const ActivationKernel kActivationScalar;

// Best first; the last one runs everywhere.
std::span<const ActivationKernel* const> activation_kernels();

const ActivationKernel& select_activation(Isa isa = cpu_isa());

}  // namespace lanner
