// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/function_ref.h"

namespace lanner {

// Binds the calling thread to a CPU; -1 leaves it as it is. Warns where the system refuses.
void pin_this_thread(int cpu);

// A fixed team of threads for compute: the caller is thread 0, the others are pinned, spin briefly
// for the next region and then sleep on a futex, so that an idle engine uses no CPU. Created by the
// engine and passed down; one caller at a time (calls from inside a region are a defect).
class ThreadPool {
 public:
  // One thread per entry of `cpus`, pinned to it; the caller is pinned by nobody. An entry of -1
  // leaves a thread unpinned. Throws Error(kInvalidArgument) for no entry,
  // Error(kResourceExhausted) if the system refuses the threads.
  explicit ThreadPool(const std::vector<int>& cpus);
  // `num_threads` unpinned threads (tests, tools).
  explicit ThreadPool(int num_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const;

  // Runs task(thread) once on every thread, thread in [0, size()), and waits for all. An exception
  // of a task is thrown again here after all have finished (the first one). A call from inside a
  // region throws Error(kInternal).
  void run(FunctionRef<void(int thread)> task);

  // Inside a region: waits until every thread of the pool has come here. Every thread must call it
  // equally often. If one of them fails, the others leave their
  // region by an exception from here: they must not swallow what they do not know.
  void barrier();

  // Splits [0, count) into size() contiguous ranges that differ by at most one element and runs
  // task(begin, end) on each that is not empty. Fewer than two ranges of min_grain elements run on
  // the caller alone.
  void parallel_for(int64_t count, FunctionRef<void(int64_t begin, int64_t end)> task,
                    int64_t min_grain = 1);

  // Hands out [0, count) in chunks of `grain` items (the last may be shorter) as threads become
  // free: for items of unequal cost.
  void parallel_for_dynamic(int64_t count, int64_t grain,
                            FunctionRef<void(int64_t begin, int64_t end, int thread)> task);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lanner
