// SPDX-License-Identifier: Apache-2.0
// Waiting so that Ctrl-C works: Python handles signals in its main thread only, and only when
// asked.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <future>

#include <nanobind/nanobind.h>

namespace lanner::python {

namespace nb = nanobind;

inline constexpr std::chrono::milliseconds kSignalInterval{50};

// Runs the handlers of signals that have come. Throws what they raise, e.g. KeyboardInterrupt.
inline void handle_signals() {
  if (PyErr_CheckSignals() != 0) throw nb::python_error();
}

// Calls `wait`(kSignalInterval) without the GIL until it returns true. Throws what a handler of a
// signal raises.
template <typename Wait>
void wait_interruptibly(Wait wait) {
  while (true) {
    {
      const nb::gil_scoped_release release;
      if (wait(kSignalInterval)) return;
    }
    handle_signals();
  }
}

// Runs task(cancelled) on a thread of its own and waits for it; on_tick is called every now and
// then, with the GIL. What a handler or on_tick throws sets `cancelled`, is kept until the task has
// ended, and thrown.
template <typename Task>
auto run_interruptibly(Task task, const std::function<void()>& on_tick = {}) {
  std::atomic<bool> cancelled = false;
  auto result = std::async(std::launch::async, [&] { return task(cancelled); });
  const auto is_ready = [&](std::chrono::milliseconds time) {
    return result.wait_for(time) == std::future_status::ready;
  };
  try {
    bool ready = false;
    while (!ready) {
      {
        const nb::gil_scoped_release release;
        ready = is_ready(kSignalInterval);
      }
      if (on_tick) on_tick();
      handle_signals();
    }
  } catch (...) {
    cancelled = true;
    const nb::gil_scoped_release release;
    result.wait();
    throw;
  }
  return result.get();
}

}  // namespace lanner::python
