// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "kernels/machine_peak/chains.h"
#include "kernels/machine_peak/kernels.h"

namespace lanner {

static uint64_t read_avx2(const std::byte* data, int64_t stream_bytes) {
  __m256i bits[4] = {};
  for (int64_t at = 0; at < stream_bytes; at += 128) {
    for (int stream = 0; stream < 8; ++stream) {
      const std::byte* p = data + stream * stream_bytes + at;
      for (int i = 0; i < 4; ++i) {
        const __m256i word = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 32 * i));
        bits[i] = _mm256_or_si256(bits[i], word);
      }
    }
  }
  const __m256i all =
      _mm256_or_si256(_mm256_or_si256(bits[0], bits[1]), _mm256_or_si256(bits[2], bits[3]));
  alignas(32) uint64_t words[4];
  _mm256_store_si256(reinterpret_cast<__m256i*>(words), all);
  return words[0] | words[1] | words[2] | words[3];
}

static float peak_f32_avx2(int64_t iterations) {
  __m256 sums[LANNER_PEAK_CHAINS];
#pragma GCC unroll 12
  for (int i = 0; i < LANNER_PEAK_CHAINS; ++i) sums[i] = _mm256_set1_ps(static_cast<float>(i));
  const __m256 a = _mm256_set1_ps(1.0f + 1e-7f);
  const __m256 b = _mm256_set1_ps(1e-3f);
  LANNER_PEAK_ROUNDS(iterations, "vfmadd231ps", sums, a, b)
  __m256 total = sums[0];
#pragma GCC unroll 12
  for (int i = 1; i < LANNER_PEAK_CHAINS; ++i) total = _mm256_add_ps(total, sums[i]);
  return _mm256_cvtss_f32(total);
}

const ReadKernel kReadAvx2 = {"avx2", Isa{Isa::kAvx2}, read_avx2};
const PeakKernel kPeakF32Avx2 = {"avx2.fp32", PeakType::kF32, Isa{Isa::kAvx2},
                                 LANNER_PEAK_CHAINS * 8 * 2, peak_f32_avx2};

}  // namespace lanner
