// SPDX-License-Identifier: Apache-2.0
// Static, so that every object keeps its own copy (an ISA file must export nothing but its table).
#pragma once

#include <cstdint>
#include <cstring>

namespace lanner {

// How a row is quantised to int8: q = round(x * inverse), x = q * scale.
struct Int8Scale {
  float scale;
  float inverse;
};

// From the largest |x| as bits, by which a NaN is larger than all. What is infinite or NaN makes
// the whole row so (inverse 0, and q must be 0): it shows in the result instead of hiding in it.
static inline Int8Scale int8_scale(int32_t largest_bits) {
  float largest;
  std::memcpy(&largest, &largest_bits, sizeof largest);
  if (largest_bits >= 0x7f800000) return {largest, 0.0f};
  if (largest < 1e-30f) return {0.0f, 0.0f};
  return {largest / 127.0f, 127.0f / largest};
}

}  // namespace lanner
