// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <utility>

#include "base/error.h"

namespace lanner {

// Arithmetic on sizes that come from files or users: overflow is an Error(kInvalidArgument) that
// names what was computed, never a wrapped number. `what` reads like "[gguf] tensor size".
template <std::integral T>
T checked_add(T a, T b, const char* what) {
  T result;
  if (__builtin_add_overflow(a, b, &result)) {
    throw_error(ErrorCode::kInvalidArgument, "{} overflows: {} + {}", what, a, b);
  }
  return result;
}

template <std::integral T>
T checked_mul(T a, T b, const char* what) {
  T result;
  if (__builtin_mul_overflow(a, b, &result)) {
    throw_error(ErrorCode::kInvalidArgument, "{} overflows: {} * {}", what, a, b);
  }
  return result;
}

template <std::integral To, std::integral From>
To checked_cast(From value, const char* what) {
  if (!std::in_range<To>(value)) {
    throw_error(ErrorCode::kInvalidArgument, "{} is out of range: {}", what, value);
  }
  return static_cast<To>(value);
}

// value / divisor, rounded up; value >= 0, divisor > 0.
constexpr int64_t ceil_div(int64_t value, int64_t divisor) {
  return value / divisor + (value % divisor != 0 ? 1 : 0);
}

// value >= 0 rounded up to a multiple of `multiple` (> 0); for sizes that are known to be far from
// the limit of int64_t.
constexpr int64_t round_up(int64_t value, int64_t multiple) {
  return ceil_div(value, multiple) * multiple;
}

}  // namespace lanner
