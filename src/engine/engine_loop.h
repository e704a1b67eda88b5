// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "engine/background_worker.h"
#include "engine/draft_model.h"
#include "engine/draft_planner.h"
#include "engine/engine.h"
#include "engine/rank_group.h"
#include "engine/running_request.h"
#include "scheduler/scheduler.h"

namespace lanner {

// The engine's thread and its state. What other threads touch is guarded by mutex_; the rest
// belongs to the loop alone.
class EngineLoop {
 public:
  EngineLoop(const ModelFiles& files, const LlmConfig& config, const ProgressCallback& progress,
             const ModelFiles* draft, std::function<void()> on_lost);
  ~EngineLoop();

  // Runs the command, which must not throw, on the engine's thread between two steps. False: the
  // engine is being destroyed, it will not run.
  bool post(std::function<void()> command);
  bool is_own_thread() const { return std::this_thread::get_id() == thread_.get_id(); }

  // Throws Error(kInvalidArgument) for beams that could never run; from any thread.
  void check(const EngineRequest& request) const;
  void start(RequestId id, EngineRequest request, TokenCallback on_output);
  void abort(RequestId id);

  ModelRunner& runner() { return *runner_; }
  int max_context() const { return max_context_; }
  // Why no request can be computed any more; empty: they can.
  std::string failure() const {
    const std::lock_guard lock(mutex_);
    return failure_;
  }
  EngineStats stats() const {
    const std::lock_guard lock(mutex_);
    return stats_;
  }

 private:
  // A draft model's, as long as nothing is known of it.
  static constexpr double kHopedAcceptance = 0.7;
  using Requests = std::unordered_map<RequestId, RunningRequest>;

  void lose_ranks(const std::string& sentence);
  void make_runner(const ModelFiles& files, const LlmConfig& config,
                   const ProgressCallback& progress, const ModelFiles* draft);
  void load(const ModelFiles& files, const LlmConfig& config, const ProgressCallback& progress,
            const ModelFiles* draft);
  void run();
  void unload();
  bool run_commands();
  SequenceParams sequence_params(const EngineRequest& request) const;

  void step();
  void prepare_constraints(const SchedulerOutput& output);
  // engine_sampling.cpp
  StepResult sample(const SchedulerOutput& output, const Tensor& logits);
  void pool(const SchedulerOutput& output, const Tensor& hidden);
  void score_prompts(const SchedulerOutput& output, const Tensor& logits);
  void take_branches(RunningRequest& request, SamplingResult& result);
  void move_beams(RunningRequest& request, std::span<SamplingResult> rows, StepResult& result);
  void end_beams(RunningRequest& request);

  // engine_drafts.cpp
  void propose_drafts(const SchedulerOutput& output);
  DraftPlanner::Proposal proposal_of(const Sequence& sequence, RunningSequence& running,
                                     std::span<const int32_t> ngram, int most) const;
  void set_model_drafts(const Sequence& sequence, RunningSequence& running, int count,
                        int& catch_up_budget);
  bool catch_up(const Sequence& sequence, int& budget);
  void fill_drafts(SchedulerOutput& output);
  void note_draft_seconds(double seconds);
  void note_drafts(RunningSequence& running, const ScheduledSequence& scheduled,
                   std::span<const int32_t> tokens, const SchedulerOutput& output);
  void deliver(const SequenceEvent& event);
  // Calls back. False: nothing more is wanted of the sequence.
  bool tell(RunningRequest& request, const TokenOutput& output);
  void end_sequence(RunningRequest& request, int index);
  void forget(const RunningRequest& request);
  void finish(RequestId id, FinishReason reason, const std::string& error);
  void finish_all(FinishReason reason, const std::string& error);
  void fail_step(const SchedulerOutput& output, const std::string& error);
  bool is_decode(const SchedulerOutput& output) const;
  void count(const SchedulerOutput& output, const StepResult& result, double seconds);
  void count_turn(double seconds);
  void count_sequences();

  RunningSequence* find(SequenceId id);

  const std::function<void()> on_lost_;
  std::unique_ptr<RankGroup> ranks_;     // if there are several
  std::unique_ptr<ModelRunner> runner_;  // lets them go before they are waited for
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<Sampler> sampler_;
  BackgroundWorker constraint_worker_;
  std::vector<int32_t> eos_token_ids_;
  Requests requests_;
  std::unordered_map<SequenceId, RunningRequest*> by_sequence_;
  SequenceId next_sequence_ = 1;
  int max_context_ = 0;
  int max_tokens_per_step_ = 0;
  bool has_ngrams_ = false;
  std::unique_ptr<DraftModel> draft_model_;
  DraftPlanner draft_planner_;
  int fixed_draft_tokens_ = 0;  // LlmConfig::draft_tokens
  // Of all sequences; the draft model's forgets slowly, as many begin with it.
  NgramAcceptance ngram_acceptance_;
  AcceptanceRate model_acceptance_{kHopedAcceptance, 0.04};
  double draft_seconds_ = 0;
  double step_draft_seconds_ = 0;  // of them, for the step under way

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::function<void()>> commands_;
  EngineStats stats_;
  std::string failure_;
  bool stop_ = false;

  std::thread thread_;
};

}  // namespace lanner
