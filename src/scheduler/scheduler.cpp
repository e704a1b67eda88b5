// SPDX-License-Identifier: Apache-2.0
#include "scheduler/scheduler.h"

#include <algorithm>
#include <utility>

#include "base/checked.h"
#include "base/error.h"

namespace lanner {
namespace {

SchedulerConfig checked(SchedulerConfig config) {
  const auto at_least = [](int value, int minimum, const char* field) {
    check_argument(value >= minimum, "[scheduler] {} is {}, expected at least {}", field, value,
                   minimum);
  };
  at_least(config.max_tokens_per_step, 1, "max_tokens_per_step");
  at_least(config.max_sequences, 1, "max_sequences");
  at_least(config.max_context, 2, "max_context");
  at_least(config.num_blocks, 1, "num_blocks");
  at_least(config.block_size, 1, "block_size");
  at_least(config.recompute_length, 0, "recompute_length");
  return config;
}

}  // namespace

// A sequence that is alone must never run out of blocks, so none gets longer than the cache.
Scheduler::Scheduler(SchedulerConfig config)
    : config_(checked(std::move(config))),
      max_context_(static_cast<int>(std::min<int64_t>(
          config_.max_context, int64_t{config_.num_blocks} * config_.block_size))),
      blocks_(config_.num_blocks) {}

void Scheduler::add(SequenceParams params) {
  check_argument(!params.prompt.empty(), "[scheduler] the prompt has no tokens");
  check_argument(params.prompt.size() < static_cast<size_t>(max_context_),
                 "[scheduler] the prompt has {} tokens, the {} holds {} with the answer",
                 params.prompt.size(), max_context_ < config_.max_context ? "KV cache" : "context",
                 max_context_);
  check_argument(params.max_tokens.value_or(1) >= 1,
                 "[scheduler] max_tokens is {}, expected at least 1",
                 params.max_tokens.value_or(1));
  LANNER_CHECK(!sequences_.contains(params.id));
  std::ranges::sort(params.stop_token_ids);
  const SequenceId id = params.id;
  auto sequence =
      std::make_unique<Sequence>(std::move(params), num_added_++, blocks_, config_.block_size);
  waiting_.insert(sequence.get());
  sequences_.emplace(id, std::move(sequence));
}

bool Scheduler::finish(SequenceId id) {
  const auto it = sequences_.find(id);
  if (it == sequences_.end()) return false;
  remove(*it->second);
  return true;
}

SchedulerOutput Scheduler::schedule() {
  SchedulerOutput output;
  output.step = ++step_;
  step_under_way_ = true;
  schedule_decodes(output);
  schedule_prompts(output);
  admit_waiting(output);
  LANNER_CHECK(!output.empty() || !has_work());
  return output;
}

void Scheduler::schedule_decodes(SchedulerOutput& output) {
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence& sequence = *running_[i];
    if (sequence.num_uncomputed() > 1) continue;
    // Only sequences after this one are thrown out, or itself: none that the step has already.
    while (!sequence.blocks.grow(sequence.num_tokens())) {
      preempt_last();
      if (i == running_.size()) return;
    }
    append(sequence, 1, output);
  }
}

void Scheduler::schedule_prompts(SchedulerOutput& output) {
  for (const Sequence* sequence : running_) {
    const int num_tokens = std::min(sequence->num_uncomputed(), budget(output));
    if (num_tokens == 0) return;
    if (sequence->num_uncomputed() > 1) append(*sequence, num_tokens, output);
  }
}

// Only with budget left after every running sequence had its part, so that there are never more of
// them than a step has tokens and no decoding sequence misses one. A sequence that this step has
// thrown out cannot come in again: the block it made way for is missing.
void Scheduler::admit_waiting(SchedulerOutput& output) {
  while (!waiting_.empty() && std::ssize(running_) < config_.max_sequences && budget(output) > 0) {
    Sequence& sequence = **waiting_.begin();
    if (!sequence.blocks.grow(sequence.num_tokens())) return;
    waiting_.erase(waiting_.begin());
    running_.insert(std::ranges::upper_bound(running_, &sequence, Before{}), &sequence);
    sequence.state = SequenceState::kRunning;
    append(sequence, std::min(sequence.num_uncomputed(), budget(output)), output);
  }
}

int Scheduler::budget(const SchedulerOutput& output) const {
  return config_.max_tokens_per_step - static_cast<int>(output.tokens.size());
}

void Scheduler::append(const Sequence& sequence, int num_tokens, SchedulerOutput& output) const {
  LANNER_CHECK(num_tokens >= 1 && num_tokens <= budget(output));
  const int begin = sequence.num_computed;
  const int end = begin + num_tokens;
  const std::span<const int32_t> blocks =
      sequence.blocks.blocks().first(static_cast<size_t>(ceil_div(end, config_.block_size)));
  output.sequences.push_back({
      .id = sequence.params.id,
      .token_begin = static_cast<int32_t>(output.tokens.size()),
      .num_tokens = num_tokens,
      .start_position = begin,
      .sequence_length = sequence.num_tokens(),
      .block_begin = static_cast<int32_t>(output.blocks.size()),
      .num_blocks = static_cast<int32_t>(blocks.size()),
      .sample = end == sequence.num_tokens(),
  });
  for (int position = begin; position < end; ++position) {
    output.tokens.push_back(sequence.tokens[static_cast<size_t>(position)]);
    output.slots.push_back(sequence.blocks.slot(position));
  }
  output.blocks.insert(output.blocks.end(), blocks.begin(), blocks.end());
}

void Scheduler::preempt_last() {
  Sequence& sequence = *running_.back();
  running_.pop_back();
  put_back(sequence);
  ++num_preemptions_;
}

void Scheduler::put_back(Sequence& sequence) {
  sequence.blocks.release();
  sequence.num_computed = 0;
  sequence.state = SequenceState::kWaiting;
  waiting_.insert(&sequence);
}

void Scheduler::remove(Sequence& sequence) {
  if (sequence.state == SequenceState::kWaiting) {
    waiting_.erase(&sequence);
  } else {
    std::erase(running_, &sequence);
  }
  sequences_.erase(sequence.params.id);
}

std::vector<SequenceEvent> Scheduler::update(const SchedulerOutput& output,
                                             std::span<const int32_t> sampled) {
  LANNER_CHECK(step_under_way_ && output.step == step_);
  LANNER_CHECK(std::ranges::count_if(output.sequences, &ScheduledSequence::sample) ==
               std::ssize(sampled));
  step_under_way_ = false;
  std::vector<SequenceEvent> events;
  events.reserve(sampled.size());
  size_t row = 0;
  for (const ScheduledSequence& scheduled : output.sequences) {
    const int32_t token = scheduled.sample ? sampled[row++] : -1;
    const auto it = sequences_.find(scheduled.id);
    // Ended while the step ran; a waiting one is a newcomer under the same id.
    if (it == sequences_.end() || it->second->state == SequenceState::kWaiting) continue;
    Sequence& sequence = *it->second;
    LANNER_CHECK(sequence.num_computed == scheduled.start_position);
    sequence.num_computed += scheduled.num_tokens;
    if (!scheduled.sample) continue;

    SequenceEvent& event = events.emplace_back();
    event.id = scheduled.id;
    if (token < 0) {
      event.finish_reason = FinishReason::kError;
    } else {
      sequence.tokens.push_back(token);
      event.tokens = {token};
      event.finish_reason = finish_reason(sequence);
    }
    if (event.finish_reason != FinishReason::kNone) {
      remove(sequence);
    } else if (sequence.num_tokens() - 1 == config_.recompute_length) {
      std::erase(running_, &sequence);
      put_back(sequence);
    }
  }
  return events;
}

// Of a sequence that has just got a token.
FinishReason Scheduler::finish_reason(const Sequence& sequence) const {
  const SequenceParams& params = sequence.params;
  const int32_t token = sequence.tokens.back();
  if (!params.ignore_eos &&
      std::ranges::find(config_.eos_token_ids, token) != config_.eos_token_ids.end()) {
    return FinishReason::kStop;
  }
  if (std::ranges::binary_search(params.stop_token_ids, token)) return FinishReason::kStop;
  if (params.max_tokens && sequence.num_output_tokens() >= *params.max_tokens) {
    return FinishReason::kLength;
  }
  return sequence.num_tokens() >= max_context_ ? FinishReason::kLength : FinishReason::kNone;
}

const Sequence* Scheduler::find(SequenceId id) const {
  const auto it = sequences_.find(id);
  return it == sequences_.end() ? nullptr : it->second.get();
}

}  // namespace lanner
