// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "kernels/machine_peak/chains.h"
#include "kernels/machine_peak/kernels.h"

namespace lanner {

static float peak_int8_avx_vnni(int64_t iterations) {
  __m256i sums[LANNER_PEAK_CHAINS];
#pragma GCC unroll 12
  for (int i = 0; i < LANNER_PEAK_CHAINS; ++i) sums[i] = _mm256_set1_epi32(i);
  const __m256i a = _mm256_set1_epi8(3);
  const __m256i b = _mm256_set1_epi8(1);
  LANNER_PEAK_ROUNDS(iterations, "%{vex%} vpdpbusd", sums, a, b)
  __m256i total = sums[0];
#pragma GCC unroll 12
  for (int i = 1; i < LANNER_PEAK_CHAINS; ++i) total = _mm256_add_epi32(total, sums[i]);
  return static_cast<float>(_mm256_extract_epi32(total, 0));
}

const PeakKernel kPeakInt8AvxVnni = {"avx_vnni.int8", PeakType::kInt8,
                                     Isa{Isa::kAvx2, Isa::kAvxVnni}, LANNER_PEAK_CHAINS * 32 * 2,
                                     peak_int8_avx_vnni};

}  // namespace lanner
