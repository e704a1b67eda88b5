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
  std::string job_secret;                // LANNER_SECRET: what the ranks of a job share
  std::string cache_dir;  // LANNER_CACHE, else XDG_CACHE_HOME/lanner, else ~/.cache/lanner
  // Of a hub of models; HF_ names are those of huggingface_hub.
  std::string hub_url;       // LANNER_HUB_URL, else HF_ENDPOINT, else https://huggingface.co
  std::string hub_token;     // LANNER_HUB_TOKEN, else HF_TOKEN
  std::string hub_cache;     // LANNER_HUB_CACHE, else HF_HUB_CACHE, else HF_HOME/hub, else
                             // XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub
  bool hub_offline = false;  // HF_HUB_OFFLINE is 1
};

// Throws Error(kInvalidArgument) naming a variable whose value makes no sense.
Environment read_environment();

// The place of this process among those that a launcher started together.
struct LauncherRank {
  std::string launcher;  // "Open MPI", "PMI", "SLURM"
  int rank = 0;
  int size = 1;
};

// What mpirun (Open MPI; MPICH, Intel MPI and others by PMI) or SLURM's srun have set; empty where
// none has. Throws Error(kInvalidArgument) naming a variable whose value makes no sense.
std::optional<LauncherRank> read_launcher_rank();

// Sets a variable for a library that reads its own settings so, unless the user has set it. Not
// while other threads may read the environment.
void set_default_environment(const char* name, const std::string& value);

// The environment as execve takes it: what programs that this one starts inherit.
char** environment_for_programs();

}  // namespace lanner
