// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <set>
#include <span>
#include <string>
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
  // K and V of a longer sequence depend on its length and not on the tokens before them alone
  // (dynamic RoPE scaling), so its blocks are of no use to others and tokens are computed one by
  // one. 0: of every sequence (a prompt that attends to all of itself).
  int reusable_length = std::numeric_limits<int>::max();
  int max_logits_rows = std::numeric_limits<int>::max();  // of a prompt whose logits are wanted
  bool prefix_cache = true;
  std::string cache_identity = {};  // the model: what else K and V depend on
  uint64_t cache_seed = 0;          // of the hash of identity and salt
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
//     const StepResult result = …;  // run the model, sample
//     for (const SequenceEvent& event : scheduler.update(output, result)) …
//   }
//
// Order is by arrival, moved by priority. A step first takes one token of every decoding sequence
// (and drafts, with half of the budget that nobody needs), then prompts in order as far as the
// token budget goes. The first of the waiting sequences starts when there are blocks for all its
// tokens, less what the prefix cache has of them, and nothing overtakes it; running ones that come
// after it in order make way. When blocks run out, the last of the running sequences gives all of
// its own back and waits to be computed again, prompt and output; the first one can therefore
// always go on, and every sequence ends after a bounded number of steps. Beams are thrown out
// together and start again from their prompt, as that leads to the same end.
class Scheduler {
 public:
  // Throws Error(kInvalidArgument) naming the field.
  explicit Scheduler(SchedulerConfig config);

  // Queues a sequence under ids that are not in use. Throws Error(kInvalidArgument) for an empty
  // prompt, max_tokens < 1, a prompt that does not fit, with an answer if it is to have one (with
  // both counts), or beams that could not run even alone.
  void add(SequenceParams params);
  // What add() says of beams, from any thread.
  void check_beams(const SequenceParams& params) const;

  // Ends a sequence from outside (a stop string, a failed step), all beams of a search together,
  // and frees its blocks at once; there will be no event of it, also not of a step under way.
  // False if it has ended before.
  bool finish(SequenceId id);

  // Proposes tokens that may come next; the next step verifies as many as it has room for.
  void set_drafts(SequenceId id, std::span<const int32_t> drafts);

  // The next step; empty only if there is no work. A step that is not followed by its update has
  // not happened.
  SchedulerOutput schedule();

  // The result of the last step.
  std::vector<SequenceEvent> update(const SchedulerOutput& output, const StepResult& result);

  bool has_work() const { return !sequences_.empty(); }
  // The next step has more of a running sequence's prompt to compute.
  bool has_prompt() const;
  // A sequence that has not ended; else null.
  const Sequence* find(SequenceId id) const;
  // Tokens a sequence can have: max_context, or less if the KV cache is smaller than that.
  int max_context() const { return max_context_; }
  size_t num_waiting() const { return waiting_.size(); }
  size_t num_running() const { return running_.size(); }
  // Free or only in the prefix cache.
  const BlockManager& blocks() const { return blocks_; }
  uint64_t num_preemptions() const { return num_preemptions_; }
  // Tokens of prompts that looked for their beginning in the prefix cache, and that found it there.
  uint64_t num_lookup_tokens() const { return num_lookup_tokens_; }
  uint64_t num_hit_tokens() const { return num_hit_tokens_; }

 private:
  // A level of priority is worth so many arrivals: that many later ones can overtake a sequence of
  // the next level, and no more, so that none starves.
  static constexpr int64_t kArrivalsPerLevel = 256;
  static int64_t rank(const Sequence& sequence) {
    return static_cast<int64_t>(sequence.arrival) + kArrivalsPerLevel * sequence.params.priority;
  }
  struct Before {
    bool operator()(const Sequence* a, const Sequence* b) const {
      if (rank(*a) != rank(*b)) return rank(*a) < rank(*b);
      return a->arrival != b->arrival ? a->arrival < b->arrival : a->branch < b->branch;
    }
  };

  void admit_earlier();
  void schedule_decodes(SchedulerOutput& output);
  void schedule_prompts(SchedulerOutput& output);
  void admit_waiting(SchedulerOutput& output);
  Sequence* start_first_waiting();
  // Tokens that the step may still take.
  int budget(const SchedulerOutput& output) const;
  // How many running sequences a sequence counts for: a prompt for what will become of it.
  int weight(const Sequence& sequence) const;
  int running_weight() const;
  // The running sequences that move with this one, itself the first: its beams, or none.
  std::span<Sequence* const> together(size_t index) const;
  // Blocks to write the tokens up to num_tokens to; false if there are too few.
  bool make_room(Sequence& sequence, int num_tokens);
  int num_allowed_drafts(Sequence& sequence, int left) const;
  // Tokens of a prompt that the step takes: what fits, but never a part of a prefix.
  int prompt_chunk(const Sequence& sequence, int budget) const;
  void want_hidden(const Sequence& sequence, ScheduledSequence& scheduled) const;
  // Puts the next num_tokens tokens of a running sequence into the step, and drafts after them.
  void append(const Sequence& sequence, int num_tokens, int num_drafts, SchedulerOutput& output);
  void preempt_last();
  // Takes the blocks of a sequence that has left running_; it waits to be computed again.
  void put_back(Sequence& sequence);
  void remove(Sequence& sequence);

  bool is_reusable(const Sequence& sequence) const;
  std::vector<PrefixCache::Match> matches(const Sequence& sequence, PrefixId prefix) const;
  bool take_blocks(Sequence& sequence);
  void publish(Sequence& sequence);

  // scheduler_update.cpp
  void advance(Sequence& sequence, std::span<const int32_t> tokens, std::span<const int32_t> drafts,
               std::vector<SequenceEvent>& events);
  void branch(Sequence& root, std::span<const int32_t> tokens, std::vector<SequenceEvent>& events);
  Sequence& add_branch(const Sequence& root, int index, bool runs);
  void move_beams(Sequence& first, std::span<const int32_t> tokens,
                  std::span<const int32_t> parents, std::vector<SequenceEvent>& events);
  FinishReason finish_reason(const Sequence& sequence) const;

  const SchedulerConfig config_;
  const int max_context_;
  BlockManager blocks_;  // before the sequences, which give their blocks back to it
  std::unordered_map<SequenceId, std::unique_ptr<Sequence>> sequences_;
  std::vector<Sequence*> running_;       // in order
  std::set<Sequence*, Before> waiting_;  // in order
  std::vector<BlockCopy> copies_;        // not done yet: since the last update
  std::vector<SequenceId> restarted_;    // likewise
  uint64_t num_added_ = 0;
  uint64_t num_preemptions_ = 0;
  uint64_t num_lookup_tokens_ = 0;
  uint64_t num_hit_tokens_ = 0;
  uint64_t step_ = 0;
  bool step_under_way_ = false;
};

}  // namespace lanner
