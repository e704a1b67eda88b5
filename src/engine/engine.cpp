// SPDX-License-Identifier: Apache-2.0
#include "engine/engine.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <future>
#include <mutex>
#include <optional>
#include <random>
#include <thread>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "sampling/logits_processors.h"
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

[[noreturn]] void throw_stopping() {
  throw_error(ErrorCode::kCancelled, "the engine is being destroyed");
}

TokenOutput error_output(std::string error, int output_tokens) {
  return {.token_ids = {},
          .finish_reason = FinishReason::kError,
          .error = std::move(error),
          .output_tokens = output_tokens};
}

// What the sampler cannot do yet is refused.
void check_supported(const SamplingParams& sampling) {
  const auto refuse_if = [](bool set, const char* field) {
    if (set) throw_error(ErrorCode::kUnsupported, "[sampling] {} is not supported yet", field);
  };
  refuse_if(sampling.n > 1, "n");
  refuse_if(sampling.best_of.value_or(1) > 1, "best_of");
  refuse_if(sampling.beam_width > 0, "beam_width");
  refuse_if(sampling.typical_p < 1, "typical_p");
  refuse_if(!sampling.logit_bias.empty(), "logit_bias");
  refuse_if(!sampling.bad_words.empty(), "bad_words");
  refuse_if(!sampling.bad_word_ids.empty(), "bad_word_ids");
  refuse_if(sampling.min_tokens > 0, "min_tokens");
  refuse_if(sampling.include_stop, "include_stop");
  refuse_if(sampling.logprobs.has_value(), "logprobs");
  refuse_if(sampling.prompt_logprobs.has_value(), "prompt_logprobs");
}

}  // namespace

// The engine's thread and its state. What other threads touch is guarded by mutex_; the rest
// belongs to the loop alone.
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

  // Runs the command, which must not throw, on the engine's thread between two steps. False: the
  // engine is being destroyed, it will not run.
  bool post(std::function<void()> command) {
    {
      const std::lock_guard lock(mutex_);
      if (stop_) return false;
      commands_.push_back(std::move(command));
    }
    wake_.notify_one();
    return true;
  }
  bool is_own_thread() const { return std::this_thread::get_id() == thread_.get_id(); }

  void start(RequestId id, std::vector<int32_t> prompt, const SamplingParams& sampling,
             int priority, TokenCallback on_output);
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
    std::optional<TokenCounts> counts;  // for the penalties, if there are any
    TokenCallback on_output;
    int output_tokens = 0;
  };
  using Requests = std::unordered_map<RequestId, Running>;

  void load(const ModelFiles& files, const LlmConfig& config, const ProgressCallback& progress);
  void run();
  bool run_commands();
  void step();
  std::vector<int32_t> sample(const SchedulerOutput& output, const Tensor& logits);
  void deliver(const SequenceEvent& event);
  static bool tell(Running& running, const TokenOutput& output);
  void finish(Requests::iterator request, FinishReason reason, const std::string& error);
  void fail_step(const SchedulerOutput& output, const std::string& error);
  void count(const SchedulerOutput& output, double seconds);

  std::unique_ptr<ModelRunner> runner_;
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<Sampler> sampler_;
  Requests requests_;
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
      .recompute_length = plan.info.recompute_length,
  });
  sampler_ = std::make_unique<Sampler>();
  max_context_ = scheduler_->max_context();
}

void Engine::Loop::run() {
  while (run_commands()) {
    if (scheduler_->has_work()) step();
  }
  while (!requests_.empty()) finish(requests_.begin(), FinishReason::kAborted, "");
}

// Waits for something to do. False: the engine stops; what was posted before that has run.
bool Engine::Loop::run_commands() {
  std::vector<std::function<void()>> commands;
  bool stop = false;
  {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [&] { return stop_ || !commands_.empty() || scheduler_->has_work(); });
    commands.swap(commands_);
    stop = stop_;
  }
  for (const auto& command : commands) command();
  return !stop;
}

void Engine::Loop::start(RequestId id, std::vector<int32_t> prompt, const SamplingParams& sampling,
                         int priority, TokenCallback on_output) {
  Running running{.sampling = sampling,
                  .seed = 0,
                  .counts = std::nullopt,
                  .on_output = std::move(on_output),
                  .output_tokens = 0};
  if (requests_.contains(id)) {
    tell(running, error_output(fmt::format("request id {} is in use", id), 0));
    return;
  }
  try {
    running.seed = sampling.seed ? *sampling.seed : draw_seed();
    if (has_penalties(sampling)) running.counts.emplace(prompt);
    scheduler_->add({.id = id,
                     .prompt = std::move(prompt),
                     .max_tokens = sampling.max_tokens,
                     .stop_token_ids = sampling.stop_token_ids,
                     .ignore_eos = sampling.ignore_eos,
                     .priority = priority});
    requests_.emplace(id, std::move(running));
  } catch (const std::exception& e) {
    scheduler_->finish(id);
    tell(running, error_output(e.what(), 0));
  }
}

void Engine::Loop::abort(RequestId id) {
  const auto found = requests_.find(id);
  if (found != requests_.end()) finish(found, FinishReason::kAborted, "");
}

void Engine::Loop::step() {
  SchedulerOutput output;
  try {
    output = scheduler_->schedule();
    const auto start = Clock::now();
    const Tensor logits = runner_->step(output);
    const std::vector<int32_t> sampled = sample(output, logits);
    count(output, seconds_since(start));
    for (const SequenceEvent& event : scheduler_->update(output, sampled)) deliver(event);
  } catch (const std::exception& e) {
    // A defect or an exhausted machine: these requests end, the engine goes on.
    log(LogLevel::kError, "a step failed: {}", e.what());
    fail_step(output, e.what());
  }
}

std::vector<int32_t> Engine::Loop::sample(const SchedulerOutput& output, const Tensor& logits) {
  std::vector<SamplingRow> rows;
  for (const ScheduledSequence& scheduled : output.sequences) {
    if (!scheduled.sample) continue;
    const Running& running = requests_.at(scheduled.id);
    rows.push_back({.params = &running.sampling,
                    .seed = running.seed,
                    .step = static_cast<uint64_t>(running.output_tokens),
                    .counts = running.counts ? &*running.counts : nullptr});
  }
  return sampler_->sample(logits, rows, runner_->threads());
}

void Engine::Loop::deliver(const SequenceEvent& event) {
  const auto found = requests_.find(event.id);
  if (found == requests_.end()) return;
  Running& running = found->second;
  if (running.counts) {
    for (int32_t token : event.tokens) running.counts->add_output(token);
  }
  running.output_tokens += static_cast<int>(event.tokens.size());
  const std::string error =
      event.finish_reason == FinishReason::kError ? "the model's logits are not numbers" : "";
  const bool go_on = tell(running, {.token_ids = event.tokens,
                                    .finish_reason = event.finish_reason,
                                    .error = error,
                                    .output_tokens = running.output_tokens});
  if (go_on && event.finish_reason == FinishReason::kNone) return;
  scheduler_->finish(event.id);
  requests_.erase(found);
}

// Calls back. False: the request wants no more. The callback is somebody else's code, and nothing
// it throws may end the loop.
bool Engine::Loop::tell(Running& running, const TokenOutput& output) {
  std::string thrown = "something that is no std::exception";
  try {
    return running.on_output(output);
  } catch (const std::exception& e) {
    thrown = e.what();
  } catch (...) {
  }
  log(LogLevel::kError, "the callback of a request threw: {}", thrown);
  try {
    running.on_output(error_output("the callback threw: " + thrown, running.output_tokens));
  } catch (...) {
    // It has been told.
  }
  return false;
}

void Engine::Loop::finish(Requests::iterator request, FinishReason reason,
                          const std::string& error) {
  scheduler_->finish(request->first);
  Running running = std::move(request->second);
  requests_.erase(request);
  tell(running, {.token_ids = {},
                 .finish_reason = reason,
                 .error = error,
                 .output_tokens = running.output_tokens});
}

// Ends the sequences of a step; all of them if there was no step yet, so that the next one is not
// the same again.
void Engine::Loop::fail_step(const SchedulerOutput& output, const std::string& error) {
  for (const ScheduledSequence& scheduled : output.sequences) {
    const auto found = requests_.find(scheduled.id);
    if (found != requests_.end()) finish(found, FinishReason::kError, error);
  }
  if (!output.empty()) return;
  while (!requests_.empty()) finish(requests_.begin(), FinishReason::kError, error);
}

void Engine::Loop::count(const SchedulerOutput& output, double seconds) {
  // Decoding sequences take one token each. A step that has prompts too counts as prefill as a
  // whole.
  const bool is_decode = std::ranges::all_of(output.sequences, [&](const auto& scheduled) {
    return scheduled.num_tokens == 1 && requests_.at(scheduled.id).output_tokens > 0;
  });
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
                    int priority, TokenCallback on_output) {
  sampling.validate();
  check_supported(sampling);
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
  const bool posted = loop_->post([loop = loop_.get(), id, prompt = std::move(prompt), sampling,
                                   priority, on_output = std::move(on_output)]() mutable {
    loop->start(id, std::move(prompt), sampling, priority, std::move(on_output));
  });
  if (!posted) throw_stopping();
}

void Engine::abort(RequestId id) {
  loop_->post([loop = loop_.get(), id] { loop->abort(id); });
}

void Engine::call(const std::function<void(ModelRunner&)>& task) {
  if (is_engine_thread()) return task(loop_->runner());
  // Shared: the waiting thread may be through before set_value() is.
  const auto done = std::make_shared<std::promise<void>>();
  const bool posted = loop_->post([&task, done, loop = loop_.get()] {
    try {
      task(loop->runner());
      done->set_value();
    } catch (...) {
      done->set_exception(std::current_exception());
    }
  });
  if (!posted) throw_stopping();
  done->get_future().get();
}

bool Engine::is_engine_thread() const { return loop_->is_own_thread(); }

const ModelRunner& Engine::runner() const { return loop_->runner(); }

EngineStats Engine::stats() const { return loop_->stats(); }

}  // namespace lanner
