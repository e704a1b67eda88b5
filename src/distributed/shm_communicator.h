// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <memory>

#include "distributed/communicator.h"
#include "distributed/shm_segment.h"

namespace lanner {

struct ShmOptions {
  int rank = 0;
  // How long the others may keep a rank waiting inside a step before it gives the job up.
  std::chrono::milliseconds stall_time = std::chrono::seconds(60);
  // Every thread of every rank has a CPU of its own: waiting ranks spin for a while before they
  // sleep. Otherwise a spinner only keeps the awaited one from running.
  bool has_cpu_for_each = true;
  // Called now and then while this rank sleeps for another; what it throws ends the waiting. A
  // watch over the ranks by other means, which sees that one stands still.
  std::function<void()> on_sleep = {};
};

// Ranks on one machine (processes, or threads of one) through memory they share. A sum is read by
// every rank from the memory that the others' GEMMs wrote. Rank 0 makes the segment; each rank
// makes its communicator once. Throws Error(kInvalidArgument) for a rank that the segment does not
// have or that is taken.
std::unique_ptr<Communicator> make_shm_communicator(std::shared_ptr<ShmSegment> segment,
                                                    const ShmOptions& options);

}  // namespace lanner
