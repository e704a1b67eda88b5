// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "kernels/machine_peak/kernels.h"

namespace lanner {

static uint64_t read_scalar(const std::byte* data, int64_t stream_bytes) {
  uint64_t bits = 0;
  for (int64_t at = 0; at < stream_bytes; at += 64) {
    for (int stream = 0; stream < 8; ++stream) {
      uint64_t words[8];
      std::memcpy(words, data + stream * stream_bytes + at, sizeof(words));
      for (uint64_t word : words) bits |= word;
    }
  }
  return bits;
}

static float peak_f32_scalar(int64_t iterations) {
  float sums[16] = {};
  const float a = 1.0f + 1e-7f;
  for (int64_t i = 0; i < iterations; ++i) {
    for (float& sum : sums) sum = sum * a + 1e-3f;
  }
  float total = 0;
  for (float sum : sums) total += sum;
  return total;
}

const ReadKernel kReadScalar = {"scalar", Isa{}, read_scalar};
const PeakKernel kPeakF32Scalar = {"scalar.fp32", PeakType::kF32, Isa{}, 16 * 2, peak_f32_scalar};

}  // namespace lanner
