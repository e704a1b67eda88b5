// SPDX-License-Identifier: Apache-2.0
#include "base/env.h"

#include <charconv>
#include <cstdlib>
#include <cstring>

#include <unistd.h>

#include "base/error.h"
#include "base/log.h"

namespace lanner {
namespace {

std::optional<std::string> get(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr || *value == '\0') return std::nullopt;
  return std::string(value);
}

std::string cache_dir() {
  if (auto dir = get("LANNER_CACHE")) return *dir;
  // The XDG specification: a relative path is to be ignored.
  if (auto dir = get("XDG_CACHE_HOME"); dir && dir->front() == '/') return *dir + "/lanner";
  if (auto home = get("HOME")) return *home + "/.cache/lanner";
  return "/var/tmp/lanner-cache";
}

std::optional<int> positive_int(const char* name) {
  const auto text = get(name);
  if (!text) return std::nullopt;
  int value = 0;
  const auto [end, failure] = std::from_chars(text->data(), text->data() + text->size(), value);
  check_argument(failure == std::errc() && end == text->data() + text->size() && value >= 1,
                 "{}={}: expected a whole number of at least 1", name, *text);
  return value;
}

}  // namespace

Environment read_environment() {
  Environment environment;
  environment.log_level = get("LANNER_LOG_LEVEL");
  if (environment.log_level) parse_log_level(*environment.log_level);
  environment.max_isa = get("LANNER_MAX_ISA");
  environment.threads = positive_int("LANNER_THREADS");
  environment.no_color = get("NO_COLOR").has_value();
  environment.api_keys = get("LANNER_API_KEYS").value_or("");
  environment.notify_socket = get("NOTIFY_SOCKET").value_or("");
  environment.cache_dir = cache_dir();
  return environment;
}

char** environment_for_programs() { return environ; }

}  // namespace lanner
