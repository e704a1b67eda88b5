// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <array>

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include "base/env.h"
#include "base/error.h"

namespace lanner {
namespace {

constexpr std::array<const char*, 6> kLevelNames = {"trace", "debug", "info",
                                                    "warn",  "error", "off"};

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kTrace:
      return spdlog::level::trace;
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarn:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
    case LogLevel::kOff:
      return spdlog::level::off;
  }
  return spdlog::level::warn;
}

// A log line must not throw, not even under a bad environment: whoever reads the environment for
// its values (the fronts, cpu_isa) refuses it.
LogLevel environment_level() {
  try {
    const auto level = read_environment().log_level;
    return level ? parse_log_level(*level) : LogLevel::kWarn;
  } catch (const Error&) {
    return LogLevel::kWarn;
  }
}

// One logger per process: log lines of two engines share a terminal anyway.
spdlog::logger& logger() {
  static spdlog::logger instance = [] {
    spdlog::logger made("lanner", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    made.set_pattern("%^[%l]%$ %v");
    made.set_level(to_spdlog(environment_level()));
    return made;
  }();
  return instance;
}

}  // namespace

LogLevel parse_log_level(std::string_view name) {
  for (size_t i = 0; i < kLevelNames.size(); ++i) {
    if (name == kLevelNames[i]) return static_cast<LogLevel>(i);
  }
  throw_error(ErrorCode::kInvalidArgument, "log level '{}' is unknown; known: {}", name,
              fmt::join(kLevelNames, ", "));
}

void set_log_level(LogLevel level) { logger().set_level(to_spdlog(level)); }

namespace detail {

bool log_enabled(LogLevel level) { return logger().should_log(to_spdlog(level)); }

void write_log(LogLevel level, std::string_view message) {
  logger().log(to_spdlog(level), spdlog::string_view_t(message.data(), message.size()));
}

}  // namespace detail
}  // namespace lanner
