// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace lanner {

enum class LogLevel { kTrace, kDebug, kInfo, kWarn, kError, kOff };

// Log lines go to stderr. The level is LANNER_LOG_LEVEL, else "warn"; the fronts may set another.
// May be called from any thread.
void set_log_level(LogLevel level);
// Throws Error(kInvalidArgument) listing the levels.
LogLevel parse_log_level(std::string_view name);

namespace detail {
bool log_enabled(LogLevel level);
void write_log(LogLevel level, std::string_view message);
}  // namespace detail

template <typename... Args>
void log(LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
  if (!detail::log_enabled(level)) return;
  detail::write_log(level, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  log(LogLevel::kInfo, format, std::forward<Args>(args)...);
}
template <typename... Args>
void log_warn(fmt::format_string<Args...> format, Args&&... args) {
  log(LogLevel::kWarn, format, std::forward<Args>(args)...);
}

}  // namespace lanner
