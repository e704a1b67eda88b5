// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include <fmt/format.h>

#include "lanner/error.h"

namespace lanner {

// throw_error(ErrorCode::kNotFound, "[weights] no tensor '{}'", name)
template <typename... Args>
[[noreturn]] void throw_error(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

// Throws Error(kInvalidArgument) unless the condition holds.
template <typename... Args>
void check_argument(bool condition, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition)
    throw Error(ErrorCode::kInvalidArgument, fmt::format(format, std::forward<Args>(args)...));
}

namespace detail {
[[noreturn]] void check_failed(const char* condition, const char* file, int line);
}  // namespace detail

}  // namespace lanner

// A defect of Lanner if it fails: throws Error(kInternal). Never reachable by user input.
#define LANNER_CHECK(condition)       \
  ((condition) ? static_cast<void>(0) \
               : ::lanner::detail::check_failed(#condition, __FILE__, __LINE__))
