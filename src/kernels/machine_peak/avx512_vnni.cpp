// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "kernels/machine_peak/chains.h"
#include "kernels/machine_peak/kernels.h"

namespace lanner {

static float peak_int8_avx512_vnni(int64_t iterations) {
  __m512i sums[LANNER_PEAK_CHAINS];
#pragma GCC unroll 12
  for (int i = 0; i < LANNER_PEAK_CHAINS; ++i) sums[i] = _mm512_set1_epi32(i);
  const __m512i a = _mm512_set1_epi8(3);
  const __m512i b = _mm512_set1_epi8(1);
  LANNER_PEAK_ROUNDS(iterations, "vpdpbusd", sums, a, b)
  __m512i total = sums[0];
#pragma GCC unroll 12
  for (int i = 1; i < LANNER_PEAK_CHAINS; ++i) total = _mm512_add_epi32(total, sums[i]);
  return static_cast<float>(_mm_extract_epi32(_mm512_castsi512_si128(total), 0));
}

const PeakKernel kPeakInt8Avx512Vnni = {"avx512_vnni.int8", PeakType::kInt8,
                                        Isa{Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Vnni},
                                        LANNER_PEAK_CHAINS * 64 * 2, peak_int8_avx512_vnni};

}  // namespace lanner
