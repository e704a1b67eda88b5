// SPDX-License-Identifier: Apache-2.0
#include <cstddef>

#include <immintrin.h>

namespace lanner {
namespace {

// Sixteen floats rounded to fp16, stored, and read back.
inline void to_halves(float* values, std::byte* halves) {
  const __m256i half = _mm512_cvtps_ph(_mm512_loadu_ps(values), _MM_FROUND_TO_NEAREST_INT);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(halves), half);
  _mm512_storeu_ps(values, _mm512_cvtph_ps(half));
}

}  // namespace
}  // namespace lanner

// After what it is written in.
#include "kernels/gemm/quantize_panel.h"

namespace lanner {

const GemmQuantizerTable kGemmQuantizersAvx512 = {Isa{Isa::kAvx512}, kQuantizers, kNumQuantizers};

}  // namespace lanner
