// SPDX-License-Identifier: Apache-2.0
// For tests and benchmarks only.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

namespace lanner {

// Normally distributed values; the same seed gives the same values.
inline std::vector<float> random_normal(int64_t count, uint32_t seed, float deviation = 1.0f) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0f, deviation);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(generator);
  return values;
}

}  // namespace lanner
