// SPDX-License-Identifier: Apache-2.0
#include "engine/engine_keeper.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"

namespace lanner {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kFirstPause{1};
constexpr std::chrono::seconds kLongestPause{30};
// An engine that has run for so long was restarted with success.
constexpr std::chrono::minutes kTimeOfSuccess{1};

}  // namespace

EngineKeeper::EngineKeeper(const ModelFiles& files, const LlmConfig& config,
                           const ProgressCallback& progress, const ModelFiles* draft)
    : files_(files), config_(config), draft_(draft) {
  check_argument(config.restart_ranks >= 0, "restart_ranks must be 0 or more, not {}",
                 config.restart_ranks);
  load(progress);
  if (config.restart_ranks > 0 && engine_->stats().ranks > 1) {
    thread_ = std::thread([this] { keep(); });
  }
}

EngineKeeper::~EngineKeeper() {
  {
    const std::lock_guard lock(mutex_);
    stops_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

std::shared_ptr<Engine> EngineKeeper::find() const {
  const std::lock_guard lock(mutex_);
  return engine_;
}

std::shared_ptr<Engine> EngineKeeper::engine() const {
  const std::lock_guard lock(mutex_);
  if (engine_ == nullptr) throw Error(ErrorCode::kCancelled, loss_);
  return engine_;
}

EngineStats EngineKeeper::stats() const {
  const std::lock_guard lock(mutex_);
  return engine_ == nullptr ? last_stats_ : engine_->stats();
}

int EngineKeeper::restarts() const {
  const std::lock_guard lock(mutex_);
  return restarts_;
}

void EngineKeeper::load(const ProgressCallback& progress) {
  const auto on_lost = [this] {
    {
      const std::lock_guard lock(mutex_);
      is_lost_ = true;
    }
    changed_.notify_all();
  };
  {
    const std::lock_guard lock(mutex_);
    is_lost_ = false;
  }
  auto engine = std::make_shared<Engine>(files_, config_, progress, draft_, on_lost);
  const std::lock_guard lock(mutex_);
  engine_ = std::move(engine);
  loaded_at_ = Clock::now();
}

void EngineKeeper::keep() {
  int tries = 0;
  while (wait_for_loss()) {
    if (Clock::now() - loaded_at_ > kTimeOfSuccess) tries = 0;
    drop();
    bool is_loaded = false;
    while (!is_loaded && tries < config_.restart_ranks) {
      if (!pause(std::min(kFirstPause * (1 << std::min(tries, 5)), kLongestPause))) return;
      ++tries;
      is_loaded = reload(tries);
    }
    if (is_loaded) continue;
    const std::lock_guard lock(mutex_);
    loss_ += fmt::format("; the ranks were started again {} times", tries);
    return;
  }
}

// False: the keeper ends.
bool EngineKeeper::wait_for_loss() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return is_lost_ || stops_; });
  return !stops_;
}

bool EngineKeeper::pause(std::chrono::seconds time) {
  std::unique_lock lock(mutex_);
  return !changed_.wait_for(lock, time, [&] { return stops_; });
}

// Ends the lost engine and the requests that it still has.
void EngineKeeper::drop() {
  std::shared_ptr<Engine> lost;
  {
    const std::lock_guard lock(mutex_);
    last_stats_ = engine_->stats();
    loss_ = engine_->failure();
    lost = std::move(engine_);
  }
  log(LogLevel::kWarn, "{}; the ranks are started again", loss_);
  // Its own thread may be in a callback that has it, and must not be the one to end it.
  while (lost.use_count() > 1) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

bool EngineKeeper::reload(int number) {
  try {
    load([this](const char*, int64_t, int64_t) {
      const std::lock_guard lock(mutex_);
      if (stops_) throw Error(ErrorCode::kCancelled, "the engine is being destroyed");
    });
  } catch (const std::exception& error) {
    log(LogLevel::kWarn, "starting the ranks again ({} of {}): {}", number, config_.restart_ranks,
        error.what());
    const std::lock_guard lock(mutex_);
    loss_ = error.what();
    return false;
  }
  const std::lock_guard lock(mutex_);
  ++restarts_;
  log(LogLevel::kWarn, "the ranks are back ({} of {})", number, config_.restart_ranks);
  return true;
}

}  // namespace lanner
