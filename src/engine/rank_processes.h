// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <sys/types.h>

#include "distributed/shm_segment.h"
#include "engine/model_runner.h"

namespace lanner {

// The ranks of one machine and the CPUs of each.
struct RankLayout {
  std::vector<ThreadPlan> threads;  // [ranks]
  bool has_cpu_for_each = true;     // no CPU is in two of them
  int size() const { return static_cast<int>(threads.size()); }
};

// LlmConfig::tensor_parallel and threads on a machine: the threads that one rank alone would have,
// dealt out in order, so that a rank's are neighbours; at least one each. can_start: whether there
// is a program to start the others from, which only what was asked for insists on. Throws
// Error(kInvalidArgument) for a number of ranks that makes no sense.
RankLayout plan_ranks(const Topology& topology, const LlmConfig& config, bool can_start);

// Whether ranks can be started without being told a program or looking for one.
bool knows_worker_program(const LlmConfig& config);

// The other ranks of this machine, each `lanner worker` with the shared memory as an inherited
// descriptor: nothing has a name that could stay behind. Started and ended by rank 0, on one
// thread.
class RankProcesses {
 public:
  // Throws Error(kNotFound) naming the program that cannot be started.
  RankProcesses(const ModelFiles& files, const LlmConfig& config, const RankLayout& layout);
  // Waits for them to end; ends those that do not within some seconds.
  ~RankProcesses();
  RankProcesses(const RankProcesses&) = delete;
  RankProcesses& operator=(const RankProcesses&) = delete;

  // For rank 0's ModelRunner; the others know what to load by then.
  RankResources take_resources();
  // Throws Error(kIo) naming a rank whose process has ended, and how.
  void check();

 private:
  void start(const std::string& program, int rank, const RankLayout& layout, int descriptor);
  void wait_for_all(const ShmSegment& segment);
  bool has_ended(size_t index);
  void end_all();

  struct Process {
    pid_t id = -1;
    int status = 0;
    bool has_ended = false;
  };
  std::vector<Process> processes_;  // of ranks 1, 2, …
  RankResources resources_;
};

}  // namespace lanner
