// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

namespace lanner {

// The environment variables Lanner reads, all of them. Nothing else calls getenv.
struct Environment {
  std::optional<std::string> log_level;  // LANNER_LOG_LEVEL: trace, debug, info, warn, error, off
  std::optional<std::string> max_isa;    // LANNER_MAX_ISA: a cap of isa_caps()
  std::optional<int> threads;            // LANNER_THREADS: compute threads
  bool no_color = false;                 // NO_COLOR set to anything: https://no-color.org
  std::string api_keys;                  // LANNER_API_KEYS: keys of the server, with commas
  std::string notify_socket;             // NOTIFY_SOCKET: where a service manager listens
  std::string cache_dir;  // LANNER_CACHE, else XDG_CACHE_HOME/lanner, else ~/.cache/lanner
};

// Throws Error(kInvalidArgument) naming a variable whose value makes no sense.
Environment read_environment();

// The environment as execve takes it: what programs that this one starts inherit.
char** environment_for_programs();

}  // namespace lanner
