// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <unordered_map>
#include <vector>

#include "kvcache/block_manager.h"
#include "lanner/request.h"
#include "scheduler/scheduler_output.h"
#include "scheduler/sequence.h"

namespace lanner {

struct SchedulerConfig {
  int max_tokens_per_step = 512;  // the token budget: long prompts are computed in chunks of it
  int max_sequences = 64;         // running at once
  int max_context = 0;            // longest sequence, prompt and output, in tokens
  int32_t num_blocks = 0;         // of the KV cache
  int block_size = 0;             // tokens in a block
  std::vector<int32_t> eos_token_ids;  // the model's end tokens
  // A sequence that grows past this many tokens is computed again from its first one on, once:
  // the model turns its positions otherwise from there (longrope). 0: never.
  int recompute_length = 0;
};

// What a step did to a sequence.
struct SequenceEvent {
  SequenceId id = 0;
  std::vector<int32_t> tokens;  // new ones, an end token included
  FinishReason finish_reason = FinishReason::kNone;
};

// Decides what the next step computes and absorbs its result: continuous batching with prompts in
// chunks among the decoding sequences. A pure state machine: no clock, thread, tensor or model.
// Owns the sequences and the BlockManager. The engine's loop calls it, from one thread:
//
//   while (scheduler.has_work()) {
//     const SchedulerOutput output = scheduler.schedule();
//     const std::vector<int32_t> sampled = …;  // run the model, sample
//     for (const SequenceEvent& event : scheduler.update(output, sampled)) …
//   }
//
// Order is by priority, then arrival. A step first takes one token of every decoding sequence, then
// prompts in order as far as the token budget goes. The first of the waiting sequences starts when
// there are blocks for all its tokens, and nothing overtakes it. When blocks run out, the last of
// the running sequences gives all of its own back and waits to be computed again, prompt and
// output; the first one can therefore always go on, and every sequence ends after a bounded number
// of steps.
class Scheduler {
 public:
  // Throws Error(kInvalidArgument) naming the field.
  explicit Scheduler(SchedulerConfig config);

  // Queues a sequence under an id that is not in use. Throws Error(kInvalidArgument) for an empty
  // prompt, max_tokens < 1, or a prompt that leaves no room for an answer (with both counts).
  void add(SequenceParams params);

  // Ends a sequence from outside (a stop string, a failed step) and frees its blocks at once; there
  // will be no event of it, also not of a step under way. False if it has ended before.
  bool finish(SequenceId id);

  // The next step; empty only if there is no work. A step that is not followed by its update has
  // not happened.
  SchedulerOutput schedule();

  // The result of the last step: a token for every sequence with `sample`, in order. A negative
  // token says that there is none (logits that are no numbers) and ends the sequence with kError.
  std::vector<SequenceEvent> update(const SchedulerOutput& output,
                                    std::span<const int32_t> sampled);

  bool has_work() const { return !sequences_.empty(); }
  // A sequence that has not ended; else null.
  const Sequence* find(SequenceId id) const;
  // Tokens a sequence can have: max_context, or less if the KV cache is smaller than that.
  int max_context() const { return max_context_; }
  size_t num_waiting() const { return waiting_.size(); }
  size_t num_running() const { return running_.size(); }
  const BlockManager& blocks() const { return blocks_; }
  uint64_t num_preemptions() const { return num_preemptions_; }

 private:
  struct Before {
    bool operator()(const Sequence* a, const Sequence* b) const {
      if (a->params.priority != b->params.priority) {
        return a->params.priority < b->params.priority;
      }
      return a->arrival < b->arrival;
    }
  };

  void schedule_decodes(SchedulerOutput& output);
  void schedule_prompts(SchedulerOutput& output);
  void admit_waiting(SchedulerOutput& output);
  // Tokens that the step may still take.
  int budget(const SchedulerOutput& output) const;
  // Puts the next num_tokens tokens of a running sequence into the step.
  void append(const Sequence& sequence, int num_tokens, SchedulerOutput& output) const;
  void preempt_last();
  // Takes the blocks of a sequence that has left running_; it waits to be computed again.
  void put_back(Sequence& sequence);
  void remove(Sequence& sequence);
  FinishReason finish_reason(const Sequence& sequence) const;

  const SchedulerConfig config_;
  const int max_context_;
  BlockManager blocks_;  // before the sequences, which give their blocks back to it
  std::unordered_map<SequenceId, std::unique_ptr<Sequence>> sequences_;
  std::vector<Sequence*> running_;       // in order
  std::set<Sequence*, Before> waiting_;  // in order
  uint64_t num_added_ = 0;
  uint64_t num_preemptions_ = 0;
  uint64_t step_ = 0;
  bool step_under_way_ = false;
};

}  // namespace lanner
