// SPDX-License-Identifier: Apache-2.0
// For tests only: the one table of tolerances, and the comparison by them.
#pragma once

#include <cmath>
#include <span>
#include <vector>

#include <gmock/gmock.h>

namespace lanner {

// |actual - expected| <= absolute + relative * |expected|
struct Tolerance {
  double absolute;
  double relative;
};

namespace tolerance {
// One rounding per element: the same operations in the same order.
inline constexpr Tolerance kElementwise{1e-6, 1e-6};
// Polynomial exp or tanh instead of the library's.
inline constexpr Tolerance kTranscendental{2e-6, 5e-6};
// A sum in another order, fp32 accumulators, inputs of size about 1.
inline constexpr Tolerance kReduction{2e-5, 2e-5};
// Attention over an int8 cache: weights of V in 16 bits.
inline constexpr Tolerance kFixed16{5e-4, 5e-5};
// Products with bf16 operands and fp32 accumulators.
inline constexpr Tolerance kBf16{2e-2, 2e-2};
}  // namespace tolerance

MATCHER_P2(IsCloseTo, expected, tolerance, "is close to the reference") {
  if (arg.size() != expected.size()) {
    *result_listener << "has " << arg.size() << " elements, expected " << expected.size();
    return false;
  }
  for (size_t i = 0; i < arg.size(); ++i) {
    if (arg[i] == expected[i]) continue;  // also infinities, whose difference is NaN
    const double difference =
        std::abs(static_cast<double>(arg[i]) - static_cast<double>(expected[i]));
    const double bound =
        tolerance.absolute + tolerance.relative * std::abs(static_cast<double>(expected[i]));
    if (!(difference <= bound)) {  // also for NaN
      *result_listener << "element " << i << " is " << arg[i] << ", expected " << expected[i];
      return false;
    }
  }
  return true;
}

inline auto is_close_to(std::vector<float> expected, Tolerance tolerance) {
  return IsCloseTo(std::move(expected), tolerance);
}

}  // namespace lanner
