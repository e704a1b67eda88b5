// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "engine/engine.h"

namespace lanner {

// Has an engine, and loads it again when it has lost its ranks, as often as
// LlmConfig::restart_ranks says. All methods may be called from any thread.
class EngineKeeper {
 public:
  // Loads the engine; throws what that throws. What is passed must outlive the keeper.
  EngineKeeper(const ModelFiles& files, const LlmConfig& config, const ProgressCallback& progress,
               const ModelFiles* draft);
  ~EngineKeeper();
  EngineKeeper(const EngineKeeper&) = delete;
  EngineKeeper& operator=(const EngineKeeper&) = delete;

  // The engine, to be held no longer than a call takes. Throws Error(kCancelled) with what has
  // happened to the last one while there is none.
  std::shared_ptr<Engine> engine() const;
  // The same, or nothing.
  std::shared_ptr<Engine> find() const;
  // Of the engine, or of the last one.
  EngineStats stats() const;
  int restarts() const;

 private:
  void load(const ProgressCallback& progress);
  void keep();
  bool wait_for_loss();
  bool pause(std::chrono::seconds time);
  void drop();
  bool reload(int number);

  const ModelFiles& files_;
  const LlmConfig config_;
  const ModelFiles* const draft_;

  mutable std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  std::shared_ptr<Engine> engine_;
  EngineStats last_stats_;
  std::string loss_;  // why there is no engine
  std::chrono::steady_clock::time_point loaded_at_;
  int restarts_ = 0;
  bool is_lost_ = false;
  bool stops_ = false;

  std::thread thread_;  // only where there may be a restart
};

}  // namespace lanner
