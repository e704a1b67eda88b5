// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace lanner {

// A thread that works on one task at a time while its owner does something else. It exists from the
// first task on. start() and wait() are the owner's, in turns.
class BackgroundWorker {
 public:
  BackgroundWorker() = default;
  ~BackgroundWorker();
  BackgroundWorker(const BackgroundWorker&) = delete;
  BackgroundWorker& operator=(const BackgroundWorker&) = delete;

  // The task must not throw; waits for the one before.
  void start(std::function<void()> task);
  // Until the task is done, if there is one.
  void wait();

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void()> task_;  // until it is done
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace lanner
