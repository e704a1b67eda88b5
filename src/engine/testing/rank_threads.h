// SPDX-License-Identifier: Apache-2.0
// For tests only: the ranks of a job as threads of this process.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "distributed/shm_communicator.h"
#include "engine/model_runner.h"

namespace lanner {

// `files` must outlive it.
class RankThreads {
 public:
  RankThreads(const ModelFiles& files, const LlmConfig& config, int size) {
    const ModelPlan plan = plan_model(files, config, read_topology(), {.size = size});
    const auto segment = ShmSegment::create(
        {.ranks = size,
         .sum_elements = most_tokens_per_step(plan, config) * plan.info.hidden_size,
         .message_bytes = 1 << 16});
    for (int rank = 1; rank < size; ++rank) {
      threads_.emplace_back([this, &files, config, segment, rank] {
        try {
          ModelRunner(files, config, {}, resources(segment, rank)).follow();
        } catch (const std::exception& e) {
          const std::lock_guard lock(mutex_);
          failures_ += std::string(e.what()) + "\n";
        }
      });
    }
    try {
      runner_ =
          std::make_unique<ModelRunner>(files, config, ProgressCallback(), resources(segment, 0));
    } catch (...) {
      join();
      throw;
    }
  }
  ~RankThreads() { join(); }
  RankThreads(const RankThreads&) = delete;
  RankThreads& operator=(const RankThreads&) = delete;

  ModelRunner& runner() { return *runner_; }

  // Ends the job; what the other ranks threw.
  std::string join() {
    runner_.reset();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    return failures_;
  }

 private:
  // Tests have more ranks than CPUs.
  static RankResources resources(const std::shared_ptr<ShmSegment>& segment, int rank) {
    return {.communicator = make_shm_communicator(
                segment,
                {.rank = rank, .stall_time = std::chrono::minutes(5), .has_cpu_for_each = false}),
            .threads = {.cpus = {-1}, .reason = "one thread per rank"},
            .ranks_here = 1};
  }

  std::unique_ptr<ModelRunner> runner_;
  std::vector<std::thread> threads_;
  std::mutex mutex_;
  std::string failures_;
};

}  // namespace lanner
