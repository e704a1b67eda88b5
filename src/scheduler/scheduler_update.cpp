// SPDX-License-Identifier: Apache-2.0
// Scheduler::update: what becomes of the sequences once their tokens are sampled.
#include <algorithm>
#include <numeric>
#include <utility>

#include "base/error.h"
#include "scheduler/scheduler.h"

namespace lanner {

std::vector<SequenceEvent> Scheduler::update(const SchedulerOutput& output,
                                             const StepResult& result) {
  LANNER_CHECK(step_under_way_ && output.step == step_);
  LANNER_CHECK(std::ranges::count_if(output.sequences, &ScheduledSequence::sample) ==
               std::ssize(result.counts));
  LANNER_CHECK(std::accumulate(result.counts.begin(), result.counts.end(), int64_t{0}) ==
               std::ssize(result.tokens));
  LANNER_CHECK(result.parents.empty() || result.parents.size() == result.tokens.size());
  step_under_way_ = false;
  copies_.clear();
  restarted_.clear();

  std::vector<SequenceEvent> events;
  events.reserve(result.counts.size());
  size_t row = 0;
  size_t token_begin = 0;
  for (const ScheduledSequence& scheduled : output.sequences) {
    const size_t begin = token_begin;
    const size_t count = scheduled.sample ? static_cast<size_t>(result.counts[row++]) : 0;
    token_begin += count;
    const auto it = sequences_.find(scheduled.id);
    // Ended while the step ran; a waiting one is a newcomer under the same id.
    if (it == sequences_.end() || it->second->state == SequenceState::kWaiting) continue;
    Sequence& sequence = *it->second;
    LANNER_CHECK(sequence.num_computed == scheduled.start_position || sequence.is_beam());
    if (sequence.is_beam()) {
      // All at once, with the first; the others are next in the step and have moved by then.
      if (sequence.branch == 0) {
        const auto width = static_cast<size_t>(sequence.params.width);
        move_beams(sequence, std::span(result.tokens).subspan(begin, width),
                   std::span(result.parents).subspan(begin, width), events);
      }
      continue;
    }
    sequence.num_computed += scheduled.num_tokens - scheduled.num_drafts;
    publish(sequence);
    if (sequence.wants_hidden() && sequence.num_uncomputed() == 0) {
      events.push_back({.id = scheduled.id, .tokens = {}, .finish_reason = FinishReason::kStop});
      remove(sequence);
      continue;
    }
    if (!scheduled.sample) continue;
    const auto tokens = std::span(result.tokens).subspan(begin, count);
    if (sequence.params.width > 1 && !sequence.has_output()) {
      branch(sequence, tokens, events);
    } else {
      const auto computed = output.tokens_of(scheduled);
      advance(sequence, tokens, computed.last(static_cast<size_t>(scheduled.num_drafts)), events);
    }
  }
  return events;
}

// A sequence whose tokens are all computed, and drafts after them, gets new ones.
void Scheduler::advance(Sequence& sequence, std::span<const int32_t> tokens,
                        std::span<const int32_t> drafts, std::vector<SequenceEvent>& events) {
  LANNER_CHECK(!tokens.empty());
  SequenceEvent& event = events.emplace_back();
  event.id = sequence.params.id;
  sequence.drafts.clear();
  const int length = sequence.num_tokens();
  for (const int32_t token : tokens) {
    if (token < 0) {
      event.finish_reason = FinishReason::kError;
      break;
    }
    sequence.tokens.push_back(token);
    event.tokens.push_back(token);
    event.finish_reason = finish_reason(sequence);
    if (event.finish_reason != FinishReason::kNone) break;
  }
  // K and V of the drafts that came true are in the cache.
  const auto accepted = std::ranges::mismatch(event.tokens, drafts).in2 - drafts.begin();
  sequence.num_computed =
      std::min(sequence.num_computed + static_cast<int>(accepted), sequence.num_tokens() - 1);
  if (event.finish_reason != FinishReason::kNone) {
    publish(sequence);
    remove(sequence);
  } else if (length <= config_.recompute_length &&
             sequence.num_tokens() > config_.recompute_length) {
    std::erase(running_, &sequence);
    put_back(sequence);
  }
}

// The prompt of a sequence of some width is through: it becomes that many, which share its blocks.
// Those of independent ones that may not run at once wait, and are computed on their own.
void Scheduler::branch(Sequence& root, std::span<const int32_t> tokens,
                       std::vector<SequenceEvent>& events) {
  LANNER_CHECK(std::ssize(tokens) == root.params.width || tokens.front() < 0);
  if (tokens.front() < 0) return advance(root, tokens.first(1), {}, events);
  const int running = weight(root);
  std::vector<Sequence*> branches = {&root};
  for (int i = 1; i < root.params.width; ++i) {
    branches.push_back(&add_branch(root, i, /*runs=*/i < running));
  }
  for (size_t i = 0; i < branches.size(); ++i) {
    if (root.params.branching == Branching::kBeams) {
      branches[i]->tokens.push_back(tokens[i]);
    } else if (i > 0) {
      advance(*branches[i], tokens.subspan(i, 1), {}, events);
    }
  }
  // Last, as it may end, and the others began with its tokens.
  if (root.params.branching != Branching::kBeams) advance(root, tokens.first(1), {}, events);
}

Sequence& Scheduler::add_branch(const Sequence& root, int index, bool runs) {
  SequenceParams params = root.params;
  params.id = root.params.id + static_cast<SequenceId>(index);
  params.prompt = root.tokens;
  auto added =
      std::make_unique<Sequence>(std::move(params), root.arrival, blocks_, config_.block_size);
  Sequence& sequence = *added;
  sequence.branch = index;
  sequence.has_started = true;
  sequence.num_cached = root.num_cached;
  sequences_.emplace(sequence.params.id, std::move(added));
  if (!runs) {
    waiting_.insert(&sequence);
    return sequence;
  }
  BlockTable blocks = root.blocks.fork(root.num_computed);
  sequence.blocks.swap(blocks);
  sequence.num_computed = root.num_computed;
  sequence.prefix = root.prefix;
  sequence.num_published = root.num_published;
  sequence.state = SequenceState::kRunning;
  running_.insert(std::ranges::upper_bound(running_, &sequence, Before{}), &sequence);
  return sequence;
}

// Beam i goes on from beam parents[i], with tokens[i].
void Scheduler::move_beams(Sequence& first, std::span<const int32_t> tokens,
                           std::span<const int32_t> parents, std::vector<SequenceEvent>& events) {
  const SequenceId root = first.params.id;
  if (std::ranges::any_of(tokens, [](int32_t token) { return token < 0; })) {
    events.push_back({.id = root, .tokens = {}, .finish_reason = FinishReason::kError});
    finish(root);
    return;
  }
  LANNER_CHECK(std::ssize(tokens) == first.params.width && parents.size() == tokens.size());
  std::vector<Sequence*> beams;
  for (size_t i = 0; i < tokens.size(); ++i) {
    beams.push_back(sequences_.at(root + i).get());
    beams.back()->num_computed = beams.back()->num_tokens();
  }
  struct Moved {
    std::vector<int32_t> tokens;
    BlockTable blocks;
  };
  std::vector<Moved> moved;
  moved.reserve(beams.size());
  for (size_t i = 0; i < beams.size(); ++i) {
    const Sequence& parent = *beams.at(static_cast<size_t>(parents[i]));
    moved.push_back({parent.tokens, parent.blocks.fork(parent.num_computed)});
    moved.back().tokens.push_back(tokens[i]);
  }
  for (size_t i = 0; i < beams.size(); ++i) {
    beams[i]->tokens = std::move(moved[i].tokens);
    beams[i]->blocks.swap(moved[i].blocks);
  }
}

// Of a sequence that has just got a token.
FinishReason Scheduler::finish_reason(const Sequence& sequence) const {
  const SequenceParams& params = sequence.params;
  const int32_t token = sequence.tokens.back();
  if (sequence.num_output_tokens() > params.min_tokens) {
    const bool is_end = !params.ignore_eos && std::ranges::find(config_.eos_token_ids, token) !=
                                                  config_.eos_token_ids.end();
    if (is_end || std::ranges::binary_search(params.stop_token_ids, token)) {
      return FinishReason::kStop;
    }
  }
  if (params.max_tokens && sequence.num_output_tokens() >= *params.max_tokens) {
    return FinishReason::kLength;
  }
  return sequence.num_tokens() >= max_context_ ? FinishReason::kLength : FinishReason::kNone;
}

}  // namespace lanner
