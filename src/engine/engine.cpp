// SPDX-License-Identifier: Apache-2.0
#include "engine/engine.h"

#include <chrono>
#include <condition_variable>
#include <future>
#include <mutex>
#include <random>
#include <thread>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "sampling/sampler.h"

namespace lanner {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

uint64_t draw_seed() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

}  // namespace

// The engine's thread and its state. What other threads touch is guarded by mutex_; the rest belongs
// to the loop alone.
class Engine::Loop {
 public:
  Loop(const ModelFiles& files, const LlmConfig& config, const ProgressCallback& progress) {
    std::promise<void> loaded;
    std::future<void> is_loaded = loaded.get_future();
    thread_ = std::thread([this, &files, &config, &progress, loaded = std::move(loaded)]() mutable {
      try {
        load(files, config, progress);
      } catch (...) {
        loaded.set_exception(std::current_exception());
        return;
      }
      loaded.set_value();
      run();
    });
    try {
      is_loaded.get();
    } catch (...) {
      thread_.join();
      throw;
    }
  }

  ~Loop() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }

  void post(std::function<void()> command) {
    {
      const std::lock_guard lock(mutex_);
      commands_.push_back(std::move(command));
    }
    wake_.notify_one();
  }

  void start(RequestId id, std::vector<int32_t> prompt, const SamplingParams& sampling,
             TokenCallback on_output);
  void abort(RequestId id);

  ModelRunner& runner() { return *runner_; }
  int max_context() const { return max_context_; }
  EngineStats stats() const {
    const std::lock_guard lock(mutex_);
    return stats_;
  }

 private:
  struct Running {
    SamplingParams sampling;
    uint64_t seed = 0;
    TokenCounts counts;  // for the penalties
    TokenCallback on_output;
    int output_tokens = 0;
  };

  void load(const ModelFiles& files, const LlmConfig& config, const ProgressCallback& progress);
  void run();
  void step();
  std::vector<int32_t> sample(const SchedulerOutput& output, const Tensor& logits);
  void deliver(const SequenceEvent& event);
  void finish(RequestId id, FinishReason reason, const std::string& error);
  void fail_step(const SchedulerOutput& output, const std::string& error);
  void count(const SchedulerOutput& output, double seconds);

  std::unique_ptr<ModelRunner> runner_;
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<Sampler> sampler_;
  std::unordered_map<RequestId, Running> requests_;
  int max_context_ = 0;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::function<void()>> commands_;
  EngineStats stats_;
  bool stop_ = false;

  std::thread thread_;
};

void Engine::Loop::load(const ModelFiles& files, const LlmConfig& config,
                        const ProgressCallback& progress) {
  runner_ = std::make_unique<ModelRunner>(files, config, progress);
  const ModelPlan& plan = runner_->plan();
  std::vector<int32_t> eos = plan.info.eos_token_ids;
  eos.insert(eos.end(), files.generation.eos_token_ids.begin(),
             files.generation.eos_token_ids.end());
  scheduler_ = std::make_unique<Scheduler>(SchedulerConfig{
      .max_tokens_per_step = config.max_tokens_per_step,
      .max_sequences = config.max_sequences,
      .max_context = plan.memory.max_context,
      .num_blocks = static_cast<int32_t>(plan.memory.num_blocks),
      .block_size = kBlockSize,
      .eos_token_ids = std::move(eos),
  });
  sampler_ = std::make_unique<Sampler>();
  max_context_ = scheduler_->max_context();
}

void Engine::Loop::run() {
  for (;;) {
    std::vector<std::function<void()>> commands;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return stop_ || !commands_.empty() || scheduler_->has_work(); });
      if (stop_ && commands_.empty()) break;
      commands.swap(commands_);
    }
    for (const auto& command : commands) command();
    if (scheduler_->has_work()) step();
  }
  while (!requests_.empty()) finish(requests_.begin()->first, FinishReason::kAborted, "");
}

void Engine::Loop::start(RequestId id, std::vector<int32_t> prompt, const SamplingParams& sampling,
                         TokenCallback on_output) {
  Running running{.sampling = sampling,
                  .seed = sampling.seed ? *sampling.seed : draw_seed(),
                  .counts = TokenCounts(prompt),
                  .on_output = std::move(on_output)};
  requests_.emplace(id, std::move(running));
  try {
    scheduler_->add({.id = id,
                     .prompt = std::move(prompt),
                     .max_tokens = sampling.max_tokens,
                     .stop_token_ids = sampling.stop_token_ids,
                     .ignore_eos = sampling.ignore_eos});
  } catch (const Error& e) {
    finish(id, FinishReason::kError, e.what());
  }
}

void Engine::Loop::abort(RequestId id) {
  if (requests_.contains(id)) finish(id, FinishReason::kAborted, "");
}

void Engine::Loop::step() {
  const SchedulerOutput output = scheduler_->schedule();
  const auto start = Clock::now();
  std::vector<int32_t> sampled;
  try {
    const Tensor logits = runner_->step(output);
    sampled = sample(output, logits);
  } catch (const std::exception& e) {
    // A defect or an exhausted machine: these requests end, the engine goes on.
    log(LogLevel::kError, "a step failed: {}", e.what());
    fail_step(output, e.what());
    return;
  }
  count(output, seconds_since(start));
  for (const SequenceEvent& event : scheduler_->update(output, sampled)) deliver(event);
}

std::vector<int32_t> Engine::Loop::sample(const SchedulerOutput& output, const Tensor& logits) {
  std::vector<SamplingRow> rows;
  for (const ScheduledSequence& scheduled : output.sequences) {
    if (!scheduled.sample) continue;
    const Running& running = requests_.at(scheduled.id);
    rows.push_back({.params = &running.sampling,
                    .seed = running.seed,
                    .step = static_cast<uint64_t>(running.output_tokens),
                    .counts = &running.counts});
  }
  return sampler_->sample(logits, rows, runner_->threads());
}

void Engine::Loop::deliver(const SequenceEvent& event) {
  const auto found = requests_.find(event.id);
  if (found == requests_.end()) return;
  Running& running = found->second;
  for (int32_t token : event.tokens) running.counts.add_output(token);
  running.output_tokens += static_cast<int>(event.tokens.size());
  const std::string error = event.finish_reason == FinishReason::kError
                                ? "the model's logits are not numbers"
                                : "";
  const bool go_on = running.on_output({.token_ids = event.tokens,
                                        .finish_reason = event.finish_reason,
                                        .error = error,
                                        .output_tokens = running.output_tokens});
  if (event.finish_reason != FinishReason::kNone) {
    requests_.erase(found);
  } else if (!go_on) {
    scheduler_->finish(event.id);
    requests_.erase(found);
  }
}

void Engine::Loop::finish(RequestId id, FinishReason reason, const std::string& error) {
  scheduler_->finish(id);
  const auto found = requests_.find(id);
  const Running running = std::move(found->second);
  requests_.erase(found);
  running.on_output({.token_ids = {},
                     .finish_reason = reason,
                     .error = error,
                     .output_tokens = running.output_tokens});
}

void Engine::Loop::fail_step(const SchedulerOutput& output, const std::string& error) {
  for (const ScheduledSequence& scheduled : output.sequences) {
    finish(scheduled.id, FinishReason::kError, error);
  }
}

void Engine::Loop::count(const SchedulerOutput& output, double seconds) {
  // A decoding sequence takes one token whose logits are sampled; a prompt's last chunk of one token
  // looks the same and is counted so.
  const bool is_decode = output.tokens.size() == output.sequences.size();
  const std::lock_guard lock(mutex_);
  if (is_decode) {
    stats_.decode_tokens += static_cast<int64_t>(output.tokens.size());
    stats_.decode_seconds += seconds;
  } else {
    stats_.prefill_tokens += static_cast<int64_t>(output.tokens.size());
    stats_.prefill_seconds += seconds;
  }
}

Engine::Engine(const ModelFiles& files, const LlmConfig& config, const ProgressCallback& progress)
    : loop_(std::make_unique<Loop>(files, config, progress)) {}

Engine::~Engine() = default;

void Engine::submit(RequestId id, std::vector<int32_t> prompt, const SamplingParams& sampling,
                    TokenCallback on_output) {
  sampling.validate();
  check_argument(!prompt.empty(), "the prompt has no tokens");
  const int64_t vocab_size = runner().info().vocab_size;
  for (int32_t token : prompt) {
    check_argument(token >= 0 && token < vocab_size,
                   "token id {} is outside the vocabulary of {} tokens", token, vocab_size);
  }
  for (int32_t token : sampling.stop_token_ids) {
    check_argument(token >= 0 && token < vocab_size,
                   "stop token id {} is outside the vocabulary of {} tokens", token, vocab_size);
  }
  const int context = loop_->max_context();
  check_argument(static_cast<int64_t>(prompt.size()) < context,
                 "the prompt has {} tokens; the context holds {} and an answer needs at least one",
                 prompt.size(), context);
  loop_->post([loop = loop_.get(), id, prompt = std::move(prompt), sampling,
               on_output = std::move(on_output)]() mutable {
    loop->start(id, std::move(prompt), sampling, std::move(on_output));
  });
}

void Engine::abort(RequestId id) {
  loop_->post([loop = loop_.get(), id] { loop->abort(id); });
}

void Engine::call(const std::function<void(ModelRunner&)>& task) {
  std::promise<void> done;
  loop_->post([&] {
    try {
      task(loop_->runner());
      done.set_value();
    } catch (...) {
      done.set_exception(std::current_exception());
    }
  });
  done.get_future().get();
}

const ModelRunner& Engine::runner() const { return loop_->runner(); }

EngineStats Engine::stats() const { return loop_->stats(); }

}  // namespace lanner
