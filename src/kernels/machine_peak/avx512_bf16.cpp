// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "kernels/machine_peak/chains.h"
#include "kernels/machine_peak/kernels.h"

namespace lanner {

// 1.0 in bf16, twice.
static constexpr int kOnes = 0x3f803f80;

static float peak_bf16_avx512(int64_t iterations) {
  __m512 sums[LANNER_PEAK_CHAINS];
#pragma GCC unroll 12
  for (int i = 0; i < LANNER_PEAK_CHAINS; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  const __m512i ones = _mm512_set1_epi32(kOnes);
  LANNER_PEAK_ROUNDS(iterations, "vdpbf16ps", sums, ones, ones)
  __m512 total = sums[0];
#pragma GCC unroll 12
  for (int i = 1; i < LANNER_PEAK_CHAINS; ++i) total = _mm512_add_ps(total, sums[i]);
  return _mm512_cvtss_f32(total);
}

const PeakKernel kPeakBf16Avx512 = {"avx512_bf16.bf16", PeakType::kBf16,
                                    Isa{Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16},
                                    LANNER_PEAK_CHAINS * 32 * 2, peak_bf16_avx512};

}  // namespace lanner
