// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include <sys/types.h>

#include "lanner/config.h"

namespace lanner {

// Whether ranks can be started without being told a program or looking for one.
bool knows_worker_program(const LlmConfig& config);

// The further ranks of rank 0's machine, each a `lanner worker` that meets it over TCP: nothing has
// a name that could stay behind. Started and ended by rank 0, on one thread.
class RankProcesses {
 public:
  RankProcesses() = default;
  // Waits for them to end; ends those that do not within some seconds.
  ~RankProcesses();
  RankProcesses(const RankProcesses&) = delete;
  RankProcesses& operator=(const RankProcesses&) = delete;

  // Ranks 1 to `count`, which meet rank 0 at `address` and know the job's secret. Throws
  // Error(kNotFound) naming the program that cannot be started.
  void start(const LlmConfig& config, int count, const std::string& address,
             const std::string& secret);
  // Throws Error(kIo) naming a rank whose process has ended, and how.
  void check();
  // Asks those that run to end, where they would not find out by themselves.
  void ask_to_end();

 private:
  void start_rank(const std::string& program, int rank, const std::string& address,
                  const std::string& secret);
  bool has_ended(size_t index);
  void end_all();

  struct Process {
    pid_t id = -1;
    int status = 0;
    bool has_ended = false;
  };
  std::vector<Process> processes_;  // of ranks 1, 2, …
};

}  // namespace lanner
