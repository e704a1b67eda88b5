// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace lanner::server {

// Threads for what may take long and must not hold up the I/O thread: parsing bodies, templates,
// tokenising, grammars. They sleep when there is nothing to do.
class WorkerPool {
 public:
  explicit WorkerPool(int threads);
  // Waits for the tasks that have begun; the others are dropped.
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;
  // The task must not throw.
  void run(std::function<void()> task);

 private:
  void loop();
  std::mutex mutex_;
  std::condition_variable work_;
  std::deque<std::function<void()>> tasks_;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace lanner::server
