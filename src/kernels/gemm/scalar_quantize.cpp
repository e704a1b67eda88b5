// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <cstring>

#include "base/float16.h"

namespace lanner {
namespace {

// Sixteen floats rounded to fp16, stored, and read back.
inline void to_halves(float* values, std::byte* halves) {
  for (int i = 0; i < 16; ++i) {
    const uint16_t half = fp32_to_fp16(values[i]);
    std::memcpy(halves + 2 * i, &half, sizeof half);
    values[i] = fp16_to_fp32(half);
  }
}

}  // namespace
}  // namespace lanner

// After what it is written in.
#include "kernels/gemm/quantize_panel.h"

namespace lanner {

const GemmQuantizerTable kGemmQuantizersScalar = {Isa{}, kQuantizers, kNumQuantizers};

}  // namespace lanner
