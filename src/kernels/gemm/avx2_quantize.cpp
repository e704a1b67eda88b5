// SPDX-License-Identifier: Apache-2.0
#include <cstddef>

#include <immintrin.h>

namespace lanner {
namespace {

// Sixteen floats rounded to fp16, stored, and read back.
inline void to_halves(float* values, std::byte* halves) {
  for (int i = 0; i < 16; i += 8) {
    const __m128i half = _mm256_cvtps_ph(_mm256_loadu_ps(values + i), _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(halves + 2 * i), half);
    _mm256_storeu_ps(values + i, _mm256_cvtph_ps(half));
  }
}

}  // namespace
}  // namespace lanner

// After what it is written in.
#include "kernels/gemm/quantize_panel.h"

namespace lanner {

const GemmQuantizerTable kGemmQuantizersAvx2 = {Isa{Isa::kAvx2}, kQuantizers, kNumQuantizers};

}  // namespace lanner
