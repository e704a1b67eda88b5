// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace lanner {

// x [n] fp32 as n / 256 q4_k blocks; n is a multiple of 256. In each group of 32 scale and minimum
// are fitted to the values by least squares; what is kept of them (six bits each) decides the
// values. A block with a NaN or an infinity becomes NaN. On one thread.
void quantize_q4k(const float* x, int64_t n, std::byte* blocks);

}  // namespace lanner
