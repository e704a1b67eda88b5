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

std::string hub_cache() {
  for (const char* name : {"LANNER_HUB_CACHE", "HF_HUB_CACHE"}) {
    if (auto dir = get(name)) return *dir;
  }
  if (auto dir = get("HF_HOME")) return *dir + "/hub";
  if (auto dir = get("XDG_CACHE_HOME"); dir && dir->front() == '/')
    return *dir + "/huggingface/hub";
  if (auto home = get("HOME")) return *home + "/.cache/huggingface/hub";
  return "/var/tmp/huggingface-hub";
}

// The first that is set, or `otherwise`.
std::string first_of(const char* name, const char* second, const char* otherwise) {
  if (auto value = get(name)) return *value;
  return get(second).value_or(otherwise);
}

std::optional<int> whole_number(const char* name, int least) {
  const auto text = get(name);
  if (!text) return std::nullopt;
  int value = 0;
  const auto [end, failure] = std::from_chars(text->data(), text->data() + text->size(), value);
  check_argument(failure == std::errc() && end == text->data() + text->size() && value >= least,
                 "{}={}: expected a whole number of at least {}", name, *text, least);
  return value;
}

struct LauncherVariables {
  const char* launcher;
  const char* rank;
  const char* size;
};

// SLURM last: mpirun inside a SLURM job starts processes that have its variables too.
constexpr LauncherVariables kLaunchers[] = {
    {"Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
    {"PMI", "PMI_RANK", "PMI_SIZE"},
    {"SLURM", "SLURM_PROCID", "SLURM_NTASKS"},
};

}  // namespace

Environment read_environment() {
  Environment environment;
  environment.log_level = get("LANNER_LOG_LEVEL");
  if (environment.log_level) parse_log_level(*environment.log_level);
  environment.max_isa = get("LANNER_MAX_ISA");
  environment.threads = whole_number("LANNER_THREADS", 1);
  environment.no_color = get("NO_COLOR").has_value();
  environment.api_keys = get("LANNER_API_KEYS").value_or("");
  environment.notify_socket = get("NOTIFY_SOCKET").value_or("");
  environment.job_secret = get("LANNER_SECRET").value_or("");
  environment.cache_dir = cache_dir();
  environment.hub_url = first_of("LANNER_HUB_URL", "HF_ENDPOINT", "https://huggingface.co");
  environment.hub_token = first_of("LANNER_HUB_TOKEN", "HF_TOKEN", "");
  environment.hub_cache = hub_cache();
  environment.hub_offline = get("HF_HUB_OFFLINE") == "1";
  return environment;
}

std::optional<LauncherRank> read_launcher_rank() {
  for (const LauncherVariables& variables : kLaunchers) {
    const auto rank = whole_number(variables.rank, 0);
    const auto size = whole_number(variables.size, 1);
    if (!rank || !size) continue;
    check_argument(*rank < *size, "{}={}, but {}={}", variables.rank, *rank, variables.size, *size);
    return LauncherRank{.launcher = variables.launcher, .rank = *rank, .size = *size};
  }
  return std::nullopt;
}

void set_default_environment(const char* name, const std::string& value) {
  setenv(name, value.c_str(), /*overwrite=*/0);
}

char** environment_for_programs() { return environ; }

}  // namespace lanner
