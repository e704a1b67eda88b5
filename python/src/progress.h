// SPDX-License-Identifier: Apache-2.0
// Work with a ProgressCallback, told to Python and ended by Ctrl-C.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>

#include <nanobind/nanobind.h>

#include "interruptible.h"
#include "lanner/config.h"
#include "lanner/error.h"

namespace lanner::python {

// Takes progress from the thread that works to Python's.
class ProgressRelay {
 public:
  void update(const char* stage, int64_t done, int64_t total) {
    const std::lock_guard lock(mutex_);
    stage_ = stage;
    done_ = done;
    total_ = total;
    is_new_ = true;
  }
  void call(const nb::object& progress) {
    std::string stage;
    int64_t done = 0;
    int64_t total = 0;
    {
      const std::lock_guard lock(mutex_);
      if (!is_new_) return;
      is_new_ = false;
      stage = stage_;
      done = done_;
      total = total_;
    }
    progress(stage, done, total);
  }

 private:
  std::mutex mutex_;
  std::string stage_;
  int64_t done_ = 0;
  int64_t total_ = 0;
  bool is_new_ = false;
};

[[noreturn]] inline void throw_interrupted() { throw Error(ErrorCode::kCancelled, "interrupted"); }

// task(callback) on a thread of its own; `progress` is a function of Python's, or None. What a
// handler of a signal or `progress` raises ends the task at its next call of the callback.
template <typename Task>
auto run_with_progress(const nb::object& progress, Task task) {
  ProgressRelay relay;
  return run_interruptibly(
      [&](const std::atomic<bool>& cancelled) {
        return task([&](const char* stage, int64_t done, int64_t total) {
          if (cancelled) throw_interrupted();
          relay.update(stage, done, total);
        });
      },
      [&] {
        if (!progress.is_none()) relay.call(progress);
      });
}

}  // namespace lanner::python
