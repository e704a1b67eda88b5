// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "kernels/machine_peak/chains.h"
#include "kernels/machine_peak/kernels.h"

namespace lanner {

static uint64_t read_avx512(const std::byte* data, int64_t stream_bytes) {
  __m512i bits[4] = {};
  for (int64_t at = 0; at < stream_bytes; at += 256) {
    for (int stream = 0; stream < 8; ++stream) {
      const std::byte* p = data + stream * stream_bytes + at;
      for (int i = 0; i < 4; ++i) {
        bits[i] = _mm512_or_si512(bits[i], _mm512_loadu_si512(p + 64 * i));
      }
    }
  }
  const __m512i all =
      _mm512_or_si512(_mm512_or_si512(bits[0], bits[1]), _mm512_or_si512(bits[2], bits[3]));
  return static_cast<uint64_t>(_mm512_reduce_or_epi64(all));
}

static float peak_f32_avx512(int64_t iterations) {
  __m512 sums[LANNER_PEAK_CHAINS];
#pragma GCC unroll 12
  for (int i = 0; i < LANNER_PEAK_CHAINS; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  const __m512 a = _mm512_set1_ps(1.0f + 1e-7f);
  const __m512 b = _mm512_set1_ps(1e-3f);
  LANNER_PEAK_ROUNDS(iterations, "vfmadd231ps", sums, a, b)
  __m512 total = sums[0];
#pragma GCC unroll 12
  for (int i = 1; i < LANNER_PEAK_CHAINS; ++i) total = _mm512_add_ps(total, sums[i]);
  return _mm512_cvtss_f32(total);
}

const ReadKernel kReadAvx512 = {"avx512", Isa{Isa::kAvx2, Isa::kAvx512}, read_avx512};
const PeakKernel kPeakF32Avx512 = {"avx512.fp32", PeakType::kF32, Isa{Isa::kAvx2, Isa::kAvx512},
                                   LANNER_PEAK_CHAINS * 16 * 2, peak_f32_avx512};

}  // namespace lanner
