// SPDX-License-Identifier: Apache-2.0
#include "engine/engine_loop.h"

#include <algorithm>
#include <chrono>
#include <future>
#include <random>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "sampling/logits_processors.h"

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

TokenOutput ended(int index, const RunningSequence& sequence, FinishReason reason,
                  const std::string& error) {
  TokenOutput output;
  output.index = index;
  output.finish_reason = reason;
  output.error = error;
  output.output_tokens = sequence.output_tokens;
  return output;
}

}  // namespace

EngineLoop::EngineLoop(const ModelFiles& files, const LlmConfig& config,
                       const ProgressCallback& progress, const ModelFiles* draft,
                       std::function<void()> on_lost)
    : on_lost_(std::move(on_lost)) {
  std::promise<void> loaded;
  std::future<void> is_loaded = loaded.get_future();
  thread_ =
      std::thread([this, &files, &config, &progress, draft, loaded = std::move(loaded)]() mutable {
        try {
          load(files, config, progress, draft);
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
    unload();
    throw;
  }
}

EngineLoop::~EngineLoop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  thread_.join();
  unload();
}

// While everything that is told of a lost rank is still there.
void EngineLoop::unload() {
  draft_model_.reset();
  runner_.reset();
  ranks_.reset();
}

bool EngineLoop::post(std::function<void()> command) {
  {
    const std::lock_guard lock(mutex_);
    if (stop_) return false;
    commands_.push_back(std::move(command));
  }
  wake_.notify_one();
  return true;
}

// From any thread. Known before anybody is told, who may ask again at once.
void EngineLoop::lose_ranks(const std::string& sentence) {
  {
    const std::lock_guard lock(mutex_);
    if (!failure_.empty()) return;
    failure_ = sentence;
  }
  if (on_lost_) on_lost_();
}

void EngineLoop::make_runner(const ModelFiles& files, const LlmConfig& config,
                             const ProgressCallback& progress, const ModelFiles* draft) {
  const RanksPlan plan = plan_ranks(read_topology(), config, knows_worker_program(config));
  if (plan.size == 1) {
    runner_ = std::make_unique<ModelRunner>(files, config, progress, draft);
    return;
  }
  if (draft != nullptr) {
    throw_error(ErrorCode::kUnsupported, "draft_model: a model on {} ranks cannot have one",
                plan.size);
  }
  ranks_ = std::make_unique<RankGroup>(files, config, plan, progress,
                                       [this](const std::string& why) { lose_ranks(why); });
  const auto watched = [&](const char* stage, int64_t done, int64_t total) {
    ranks_->check();
    if (progress) progress(stage, done, total);
  };
  runner_ = std::make_unique<ModelRunner>(files, config, watched, ranks_->take_resources());
}

void EngineLoop::load(const ModelFiles& files, const LlmConfig& config,
                      const ProgressCallback& progress, const ModelFiles* draft) {
  make_runner(files, config, progress, draft);
  const ModelPlan& plan = runner_->plan();
  eos_token_ids_ = plan.info.eos_token_ids;
  eos_token_ids_.insert(eos_token_ids_.end(), files.generation.eos_token_ids.begin(),
                        files.generation.eos_token_ids.end());
  std::ranges::sort(eos_token_ids_);
  const auto twice = std::ranges::unique(eos_token_ids_);
  eos_token_ids_.erase(twice.begin(), twice.end());
  scheduler_ = std::make_unique<Scheduler>(SchedulerConfig{
      .max_tokens_per_step = config.max_tokens_per_step,
      .max_sequences = config.max_sequences,
      .max_context = plan.memory.max_context,
      .num_blocks = static_cast<int32_t>(plan.memory.num_blocks),
      .block_size = kBlockSize,
      .eos_token_ids = eos_token_ids_,
      .recompute_length = plan.info.recompute_length,
      .reusable_length = plan.reusable_length,
      .max_logits_rows = runner_->max_logits_rows(),
      .prefix_cache = config.prefix_cache,
      .cache_identity = files.path,
      .cache_seed = draw_seed(),
  });
  sampler_ = std::make_unique<Sampler>();
  max_context_ = scheduler_->max_context();
  max_tokens_per_step_ = config.max_tokens_per_step;
  has_ngrams_ = config.ngram_speculation;
  fixed_draft_tokens_ = config.draft_tokens;
  if (draft != nullptr) {
    draft_model_ = std::make_unique<DraftModel>(*draft, *plan.draft, plan.memory.num_blocks,
                                                *runner_, progress);
  }
  stats_.num_blocks = plan.memory.num_blocks;
  stats_.ranks = runner_->num_ranks();
}

void EngineLoop::run() {
  while (true) {
    if (!run_commands()) break;
    if (!scheduler_->has_work()) {
      count_sequences();  // an abort may have ended the last one
      continue;
    }
    const auto start = Clock::now();
    step();
    count_turn(seconds_since(start));
  }
  const std::string lost = failure();
  finish_all(lost.empty() ? FinishReason::kAborted : FinishReason::kError, lost);
}

// Waits for something to do. False: the engine stops; what was posted before that has run.
bool EngineLoop::run_commands() {
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

SequenceParams EngineLoop::sequence_params(const EngineRequest& request) const {
  const SamplingParams& sampling = request.sampling;
  SequenceParams params;
  params.max_tokens = sampling.max_tokens;
  params.min_tokens = sampling.min_tokens;
  params.stop_token_ids = sampling.stop_token_ids;
  params.ignore_eos = sampling.ignore_eos;
  params.priority = request.priority;
  params.cache_salt = request.cache_salt;
  params.adapter = request.adapter;
  params.prompt_logits = sampling.prompt_logprobs.has_value();
  if (request.pooling) params.hidden_states = hidden_states_for(*request.pooling);
  params.width =
      sampling.beam_width > 0 ? sampling.beam_width : sampling.best_of.value_or(sampling.n);
  if (params.width > 1) {
    params.branching = sampling.beam_width > 0 ? Branching::kBeams : Branching::kIndependent;
  }
  return params;
}

void EngineLoop::check(const EngineRequest& request) const {
  SequenceParams params = sequence_params(request);
  if (params.branching != Branching::kBeams) return;
  params.prompt = request.prompt;
  scheduler_->check_beams(params);  // goes by the configuration alone
}

void EngineLoop::start(RequestId id, EngineRequest request, TokenCallback on_output) {
  SequenceParams params = sequence_params(request);
  params.id = next_sequence_;
  const bool has_beams = params.branching == Branching::kBeams;
  RunningRequest running;
  running.id = id;
  running.first_sequence = params.id;
  running.width = params.width;
  running.on_output = std::move(on_output);
  running.num_left = has_beams ? request.sampling.n : params.width;
  running.sequences.resize(static_cast<size_t>(running.num_left));
  for (RunningSequence& sequence : running.sequences) {
    sequence.model_acceptance = draft_planner_.may_try() ? AcceptanceRate(kHopedAcceptance)
                                                         : model_acceptance_.begin_again();
  }
  const auto refuse = [&](const std::string& error) {
    for (int i = 0; i < running.num_left; ++i) {
      tell(running, ended(i, RunningSequence{}, FinishReason::kError, error));
    }
  };
  if (const std::string lost = failure(); !lost.empty()) return refuse(lost);
  if (requests_.contains(id)) return refuse(fmt::format("request id {} is in use", id));
  try {
    const SamplingParams& sampling = request.sampling;
    running.seed = sampling.seed ? *sampling.seed : draw_seed();
    running.end_tokens = sampling.stop_token_ids;
    if (!sampling.ignore_eos) {
      running.end_tokens.insert(running.end_tokens.end(), eos_token_ids_.begin(),
                                eos_token_ids_.end());
    }
    if (has_beams) {
      const int room = max_context_ - static_cast<int>(request.prompt.size());
      running.beams = std::make_unique<BeamSearch>(
          sampling, running.end_tokens, std::min(sampling.max_tokens.value_or(room), room));
    }
    if (request.pooling) running.pooler.emplace(*request.pooling);
    RunningSequence& first = running.sequences.front();
    if (has_penalties(sampling)) first.counts.emplace(request.prompt);
    first.constraint = std::move(request.constraint);
    running.sampling = std::move(request.sampling);
    const PromptPrefix prefix = find_prefix(runner_->info(), request.prompt);
    params.prefix_length = prefix.length;
    params.prefix_position = prefix.position;
    params.prompt = std::move(request.prompt);
    scheduler_->add(std::move(params));
    RunningRequest& added = requests_.emplace(id, std::move(running)).first->second;
    for (int i = 0; i < added.width; ++i) by_sequence_[next_sequence_++] = &added;
  } catch (const std::exception& e) {
    refuse(e.what());
  }
}

void EngineLoop::abort(RequestId id) {
  if (requests_.contains(id)) finish(id, FinishReason::kAborted, "");
}

RunningSequence* EngineLoop::find(SequenceId id) {
  const auto it = by_sequence_.find(id);
  if (it == by_sequence_.end()) return nullptr;
  const auto index = static_cast<size_t>(it->second->index_of(id));
  std::vector<RunningSequence>& sequences = it->second->sequences;
  return index < sequences.size() ? &sequences[index] : nullptr;
}

void EngineLoop::step() {
  SchedulerOutput output;
  try {
    output = scheduler_->schedule();
    for (const SequenceId root : output.restarted) {
      const auto it = by_sequence_.find(root);
      if (it != by_sequence_.end()) it->second->beams->restart();
    }
    fill_drafts(output);
    const auto start = Clock::now();
    prepare_constraints(output);
    const ForwardOutput computed = runner_->step(output);
    constraint_worker_.wait();
    pool(output, computed.hidden);
    score_prompts(output, computed.logits);
    const StepResult result = sample(output, computed.logits);
    count(output, result, seconds_since(start));
    for (const SequenceEvent& event : scheduler_->update(output, result)) deliver(event);
    propose_drafts(output);
  } catch (const std::exception& e) {
    // A defect or an exhausted machine: these requests end, the engine goes on.
    log(LogLevel::kError, "a step failed: {}", e.what());
    constraint_worker_.wait();
    fail_step(output, e.what());
  }
}

// While the model runs: the sampler will ask for them.
void EngineLoop::prepare_constraints(const SchedulerOutput& output) {
  std::vector<TokenConstraint*> constraints;
  for (const ScheduledSequence& scheduled : output.sequences) {
    if (!scheduled.sample) continue;
    RunningSequence* sequence = find(scheduled.id);
    if (sequence != nullptr && sequence->constraint)
      constraints.push_back(sequence->constraint.get());
  }
  if (constraints.empty()) return;
  constraint_worker_.start([constraints = std::move(constraints)] {
    for (TokenConstraint* constraint : constraints) {
      try {
        constraint->prepare();
      } catch (...) {
        // allowed() will throw it again, where there is somebody to tell.
      }
    }
  });
}

void EngineLoop::deliver(const SequenceEvent& event) {
  const auto found = by_sequence_.find(event.id);
  if (found == by_sequence_.end()) return;
  RunningRequest& request = *found->second;
  const int index = request.index_of(event.id);
  RunningSequence& sequence = request.sequences.at(static_cast<size_t>(index));
  if (sequence.ended) return;
  sequence.output_tokens += static_cast<int>(event.tokens.size());
  TokenOutput output;
  output.index = index;
  output.token_ids = event.tokens;
  output.logprobs = std::move(sequence.logprobs);
  output.logprobs.resize(std::min(output.logprobs.size(), event.tokens.size()));
  sequence.logprobs.clear();
  if (index == 0) output.prompt_logprobs = std::exchange(request.prompt_logprobs, {});
  output.finish_reason = event.finish_reason;
  if (event.finish_reason == FinishReason::kError) {
    output.error = sequence.error.empty()
                       ? "no token can be drawn: the model's logits are not numbers, or every "
                         "token is forbidden"
                       : sequence.error;
  }
  output.output_tokens = sequence.output_tokens;
  output.cached_tokens = request.cached_tokens;
  if (request.pooler && event.finish_reason == FinishReason::kStop) {
    output.embedding = request.pooler->result();
  }
  const RequestId id = request.id;
  // Without a first token there are no other sequences either.
  if (event.finish_reason == FinishReason::kError && sequence.output_tokens == 0) {
    return finish(id, FinishReason::kError, std::string(output.error));
  }
  const bool go_on = tell(request, output);
  // A callback that throws has ended the request.
  const auto still = requests_.find(id);
  if (still == requests_.end()) return;
  if (!go_on || event.finish_reason != FinishReason::kNone) end_sequence(still->second, index);
}

// The callback is somebody else's code, and nothing it throws may end the loop.
bool EngineLoop::tell(RunningRequest& request, const TokenOutput& output) {
  std::string thrown = "something that is no std::exception";
  try {
    return request.on_output(output);
  } catch (const std::exception& e) {
    thrown = e.what();
  } catch (...) {
  }
  log(LogLevel::kError, "the callback of a request threw: {}", thrown);
  if (output.finish_reason == FinishReason::kError) return false;
  if (requests_.contains(request.id)) {
    finish(request.id, FinishReason::kError, "the callback threw: " + thrown);
  }
  return false;
}

void EngineLoop::end_sequence(RunningRequest& request, int index) {
  RunningSequence& sequence = request.sequences[static_cast<size_t>(index)];
  const SequenceId id = request.first_sequence + static_cast<SequenceId>(index);
  scheduler_->finish(id);
  if (sequence.ended) return;
  sequence.ended = true;
  sequence.constraint.reset();
  sequence.drafter.reset();
  if (--request.num_left > 0) return;
  forget(request);
  requests_.erase(request.id);
}

void EngineLoop::forget(const RunningRequest& request) {
  for (int i = 0; i < request.width; ++i) {
    const SequenceId id = request.first_sequence + static_cast<SequenceId>(i);
    scheduler_->finish(id);
    by_sequence_.erase(id);
  }
}

// Ends all that is left of a request.
void EngineLoop::finish(RequestId id, FinishReason reason, const std::string& error) {
  const auto found = requests_.find(id);
  if (found == requests_.end()) return;
  RunningRequest request = std::move(found->second);
  requests_.erase(found);
  forget(request);
  for (size_t i = 0; i < request.sequences.size(); ++i) {
    const RunningSequence& sequence = request.sequences[i];
    if (!sequence.ended) tell(request, ended(static_cast<int>(i), sequence, reason, error));
  }
}

// Ends the sequences of a step; all of them if there was no step yet, so that the next one is not
// the same again.
void EngineLoop::fail_step(const SchedulerOutput& output, const std::string& error) {
  // A rank that is lost takes the weights and the cache with it: no request can go on.
  const bool is_lost = !runner_->failure().empty();
  if (is_lost) lose_ranks(runner_->failure());
  for (const ScheduledSequence& scheduled : output.sequences) {
    const auto found = by_sequence_.find(scheduled.id);
    if (found != by_sequence_.end()) finish(found->second->id, FinishReason::kError, error);
  }
  if (is_lost || output.empty()) finish_all(FinishReason::kError, error);
}

void EngineLoop::finish_all(FinishReason reason, const std::string& error) {
  while (!requests_.empty()) finish(requests_.begin()->first, reason, error);
}

// Decoding sequences take one token each, and drafts. A step that has prompts too counts as prefill
// as a whole.
bool EngineLoop::is_decode(const SchedulerOutput& output) const {
  return std::ranges::all_of(output.sequences, [&](const auto& scheduled) {
    const Sequence* sequence = scheduler_->find(scheduled.id);
    return scheduled.num_tokens - scheduled.num_drafts == 1 && sequence != nullptr &&
           sequence->has_output();
  });
}

void EngineLoop::count(const SchedulerOutput& output, const StepResult& result, double seconds) {
  const bool decodes = is_decode(output);
  const double draft_seconds = std::exchange(step_draft_seconds_, 0);
  if (decodes) {
    draft_planner_.note_step({.sequences = static_cast<int>(output.sequences.size()),
                              .rows = static_cast<int>(output.tokens.size()),
                              .new_tokens = static_cast<int>(result.tokens.size()),
                              .seconds = seconds,
                              .draft_seconds = draft_seconds});
  }
  const std::lock_guard lock(mutex_);
  if (decodes) {
    stats_.decode_tokens += std::ssize(result.tokens);
    stats_.decode_seconds += seconds;
  } else {
    stats_.prefill_tokens += std::ssize(output.tokens);
    stats_.prefill_seconds += seconds;
  }
}

void EngineLoop::count_turn(double seconds) {
  count_sequences();
  const std::lock_guard lock(mutex_);
  ++stats_.steps;
  stats_.step_seconds += seconds;
  stats_.forward_seconds = runner_->forward_seconds();
  stats_.computed_tokens = runner_->computed_tokens();
  stats_.ranks_sent = runner_->communicator().stats();
  stats_.draft_seconds = draft_seconds_;
  stats_.preemptions = static_cast<int64_t>(scheduler_->num_preemptions());
  stats_.prompt_lookup_tokens = static_cast<int64_t>(scheduler_->num_lookup_tokens());
  stats_.prompt_hit_tokens = static_cast<int64_t>(scheduler_->num_hit_tokens());
  stats_.cache_evictions =
      static_cast<int64_t>(scheduler_->blocks().prefix_cache().num_evictions());
}

void EngineLoop::count_sequences() {
  const std::lock_guard lock(mutex_);
  const BlockManager& blocks = scheduler_->blocks();
  stats_.used_blocks = blocks.num_blocks() - blocks.num_free();
  stats_.running_sequences = static_cast<int>(scheduler_->num_running());
  stats_.waiting_sequences = static_cast<int>(scheduler_->num_waiting());
}

}  // namespace lanner
