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
  at_least(config.reusable_length, 0, "reusable_length");
  at_least(config.max_logits_rows, 1, "max_logits_rows");
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
  const bool has_answer = params.hidden_states == HiddenStates::kNone;
  check_argument(std::ssize(params.prompt) + (has_answer ? 1 : 0) <= max_context_,
                 "[scheduler] the prompt has {} tokens, the {} holds {}{}", params.prompt.size(),
                 max_context_ < config_.max_context ? "KV cache" : "context", max_context_,
                 has_answer ? " with the answer" : "");
  LANNER_CHECK(has_answer || (params.branching == Branching::kNone && !params.prompt_logits));
  check_argument(params.max_tokens.value_or(1) >= 1,
                 "[scheduler] max_tokens is {}, expected at least 1",
                 params.max_tokens.value_or(1));
  LANNER_CHECK(params.width >= 1 && (params.width == 1) == (params.branching == Branching::kNone));
  for (int i = 0; i < params.width; ++i) {
    LANNER_CHECK(!sequences_.contains(params.id + static_cast<SequenceId>(i)));
  }
  if (params.branching == Branching::kBeams) check_beams(params);
  std::ranges::sort(params.stop_token_ids);
  const SequenceId id = params.id;
  auto sequence =
      std::make_unique<Sequence>(std::move(params), num_added_++, blocks_, config_.block_size);
  waiting_.insert(sequence.get());
  sequences_.emplace(id, std::move(sequence));
}

// Beams need their blocks at the same time.
void Scheduler::check_beams(const SequenceParams& params) const {
  const int at_once = std::min(config_.max_sequences, config_.max_tokens_per_step);
  check_argument(params.width <= at_once,
                 "[scheduler] {} beams are more than the {} sequences that run at once",
                 params.width, at_once);
  const auto prompt = static_cast<int64_t>(params.prompt.size());
  const int64_t longest =
      std::min<int64_t>(max_context_, prompt + params.max_tokens.value_or(max_context_));
  const int64_t shared = prompt / config_.block_size;
  const int64_t needed = shared + params.width * (ceil_div(longest, config_.block_size) - shared);
  check_argument(needed <= config_.num_blocks,
                 "[scheduler] {} beams of up to {} tokens need {} blocks of the KV cache, which "
                 "has {}; set a smaller max_tokens or fewer beams",
                 params.width, longest, needed, config_.num_blocks);
  const bool crosses = config_.recompute_length > 0 && prompt <= config_.recompute_length &&
                       longest > config_.recompute_length;
  check_argument(!crosses,
                 "[scheduler] beams cannot grow past {} tokens with this model, which turns longer "
                 "sequences otherwise; set a smaller max_tokens",
                 config_.recompute_length);
}

bool Scheduler::finish(SequenceId id) {
  const auto it = sequences_.find(id);
  if (it == sequences_.end()) return false;
  if (!it->second->is_beam()) {
    remove(*it->second);
    return true;
  }
  const SequenceId root = it->second->root();
  const int width = it->second->params.width;
  for (int i = 0; i < width; ++i) remove(*sequences_.at(root + static_cast<SequenceId>(i)));
  return true;
}

void Scheduler::set_drafts(SequenceId id, std::span<const int32_t> drafts) {
  const auto it = sequences_.find(id);
  if (it == sequences_.end() || it->second->is_beam()) return;
  it->second->drafts.assign(drafts.begin(), drafts.end());
}

SchedulerOutput Scheduler::schedule() {
  SchedulerOutput output;
  output.step = ++step_;
  step_under_way_ = true;
  admit_earlier();
  schedule_decodes(output);
  schedule_prompts(output);
  admit_waiting(output);
  output.copies = copies_;
  output.restarted = restarted_;
  LANNER_CHECK(!output.empty() || !has_work());
  return output;
}

void Scheduler::schedule_decodes(SchedulerOutput& output) {
  // Every running sequence has a token in the budget; half of the rest may go to drafts, so that
  // waiting ones always find some.
  int draft_budget = (config_.max_tokens_per_step - running_weight()) / 2;
  for (size_t i = 0; i < running_.size();) {
    const std::span<Sequence* const> group = together(i);
    Sequence& first = *group.front();
    const bool decodes = first.num_uncomputed() == 1;
    // A chunk has its blocks since it started, but for tokens that came several at once.
    if (!decodes && first.blocks.is_ready(first.num_computed, first.num_tokens())) {
      ++i;
      continue;
    }
    // Only sequences after these are thrown out, or they themselves: none that the step has
    // already.
    while (
        !std::ranges::all_of(group, [&](Sequence* s) { return make_room(*s, s->num_tokens()); })) {
      preempt_last();
      if (i >= running_.size()) return;
    }
    i += group.size();
    if (!decodes) continue;
    for (Sequence* sequence : group) {
      const int num_drafts = num_allowed_drafts(*sequence, draft_budget);
      draft_budget -= num_drafts;
      append(*sequence, 1, num_drafts, output);
    }
  }
}

std::span<Sequence* const> Scheduler::together(size_t index) const {
  const Sequence& first = *running_[index];
  const size_t count = first.is_beam() ? static_cast<size_t>(first.params.width) : 1;
  return std::span(running_).subspan(index, count);
}

bool Scheduler::make_room(Sequence& sequence, int num_tokens) {
  std::optional<BlockCopy> copy;
  if (!sequence.blocks.grow_for_writing(sequence.num_computed, num_tokens, copy)) return false;
  if (copy) copies_.push_back(*copy);
  return true;
}

// Takes their blocks too, as far as there are free ones.
int Scheduler::num_allowed_drafts(Sequence& sequence, int left) const {
  if (!sequence.has_output()) return 0;
  const int length = sequence.num_tokens();
  // The token after the drafts must be allowed as well.
  int count = std::min({static_cast<int>(sequence.drafts.size()), left, max_context_ - length - 1});
  if (sequence.params.max_tokens) {
    count = std::min(count, *sequence.params.max_tokens - sequence.num_output_tokens() - 1);
  }
  if (length <= config_.recompute_length)
    count = std::min(count, config_.recompute_length - length);
  count = std::max(std::min(count, config_.reusable_length - length), 0);
  if (count > 0 && !sequence.blocks.grow(length + count)) {
    count = static_cast<int>(sequence.blocks.capacity()) - length;
  }
  return count;
}

void Scheduler::schedule_prompts(SchedulerOutput& output) {
  for (const Sequence* sequence : running_) {
    if (budget(output) <= 0) return;
    if (sequence->num_uncomputed() == 1) continue;
    append(*sequence, prompt_chunk(*sequence, budget(output)), 0, output);
  }
}

// A sequence that goes before running ones (by priority, or because it is to be computed again)
// does not wait for them to end: they make way.
void Scheduler::admit_earlier() {
  while (!waiting_.empty() && !running_.empty() && Before{}(*waiting_.begin(), running_.back())) {
    if (start_first_waiting() == nullptr) preempt_last();
  }
}

// A sequence that this step has thrown out cannot come in again: the block it made way for is
// missing.
void Scheduler::admit_waiting(SchedulerOutput& output) {
  while (!waiting_.empty() && budget(output) > 0) {
    const Sequence* sequence = start_first_waiting();
    if (sequence == nullptr) return;
    append(*sequence, prompt_chunk(*sequence, budget(output)), 0, output);
  }
}

// Null if there is no room for it. Every running sequence has a token in the budget of a step, so
// that no decoding one misses a step.
Sequence* Scheduler::start_first_waiting() {
  Sequence* sequence = *waiting_.begin();
  const int at_once = std::min(config_.max_sequences, config_.max_tokens_per_step);
  if (running_weight() + weight(*sequence) > at_once || !take_blocks(*sequence)) return nullptr;
  waiting_.erase(waiting_.begin());
  running_.insert(std::ranges::upper_bound(running_, sequence, Before{}), sequence);
  sequence->state = SequenceState::kRunning;
  return sequence;
}

int Scheduler::budget(const SchedulerOutput& output) const {
  return config_.max_tokens_per_step - static_cast<int>(output.tokens.size());
}

int Scheduler::weight(const Sequence& sequence) const {
  if (sequence.params.width == 1 || sequence.has_output()) return 1;
  return std::min({sequence.params.width, config_.max_sequences, config_.max_tokens_per_step});
}

int Scheduler::running_weight() const {
  int sum = 0;
  for (const Sequence* sequence : running_) sum += weight(*sequence);
  return sum;
}

int Scheduler::prompt_chunk(const Sequence& sequence, int budget) const {
  const int count = std::min(sequence.num_uncomputed(), budget);
  const bool has_rows = sequence.params.prompt_logits && !sequence.has_output();
  const int fitting = has_rows ? std::min(count, config_.max_logits_rows) : count;
  return std::max(fitting, sequence.params.prefix_length - sequence.num_computed);
}

void Scheduler::append(const Sequence& sequence, int num_tokens, int num_drafts,
                       SchedulerOutput& output) {
  LANNER_CHECK(num_tokens >= 1 && num_tokens <= sequence.num_uncomputed());
  const int begin = sequence.num_computed;
  const int end = begin + num_tokens + num_drafts;
  const std::span<const int32_t> blocks =
      sequence.blocks.blocks().first(static_cast<size_t>(ceil_div(end, config_.block_size)));
  const bool sample = begin + num_tokens == sequence.num_tokens() && !sequence.wants_hidden();
  const bool all_rows = sequence.params.prompt_logits && !sequence.has_output();
  output.sequences.push_back({
      .id = sequence.params.id,
      .token_begin = static_cast<int32_t>(output.tokens.size()),
      .num_tokens = num_tokens + num_drafts,
      .num_drafts = num_drafts,
      .num_logits = all_rows ? num_tokens
                    : sample ? 1 + num_drafts
                             : 0,
      .start_position = begin,
      .sequence_length = sequence.num_tokens(),
      .prompt_length = sequence.num_prompt_tokens,
      .prefix_length = sequence.params.prefix_length,
      .prefix_position = sequence.params.prefix_position,
      .adapter = sequence.params.adapter,
      .block_begin = static_cast<int32_t>(output.blocks.size()),
      .num_blocks = static_cast<int32_t>(blocks.size()),
      .sample = sample,
  });
  want_hidden(sequence, output.sequences.back());
  const auto first = sequence.tokens.begin() + begin;
  output.tokens.insert(output.tokens.end(), first, first + num_tokens);
  output.tokens.insert(output.tokens.end(), sequence.drafts.begin(),
                       sequence.drafts.begin() + num_drafts);
  for (int position = begin; position < end; ++position) {
    output.slots.push_back(sequence.blocks.slot(position));
  }
  output.blocks.insert(output.blocks.end(), blocks.begin(), blocks.end());
}

void Scheduler::want_hidden(const Sequence& sequence, ScheduledSequence& scheduled) const {
  const bool begins = scheduled.start_position == 0;
  const bool ends = scheduled.start_position + scheduled.num_tokens == sequence.num_tokens();
  switch (sequence.params.hidden_states) {
    case HiddenStates::kNone:
      return;
    case HiddenStates::kFirst:
      scheduled.num_hidden = begins ? 1 : 0;
      return;
    case HiddenStates::kLast:
      scheduled.hidden_begin = scheduled.num_tokens - 1;
      scheduled.num_hidden = ends ? 1 : 0;
      return;
    case HiddenStates::kAll:
      scheduled.num_hidden = scheduled.num_tokens;
      return;
  }
}

void Scheduler::preempt_last() {
  Sequence& last = *running_.back();
  ++num_preemptions_;
  if (!last.is_beam()) {
    running_.pop_back();
    put_back(last);
    return;
  }
  const SequenceId root_id = last.root();
  for (int i = last.params.width - 1; i > 0; --i) {
    remove(*sequences_.at(root_id + static_cast<SequenceId>(i)));
  }
  Sequence& root = *sequences_.at(root_id);
  std::erase(running_, &root);
  root.tokens.resize(static_cast<size_t>(root.num_prompt_tokens));
  put_back(root);
  restarted_.push_back(root_id);
}

void Scheduler::put_back(Sequence& sequence) {
  sequence.blocks.release();
  sequence.num_computed = 0;
  sequence.num_published = 0;
  sequence.drafts.clear();
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

bool Scheduler::is_reusable(const Sequence& sequence) const {
  // What a prefix in both directions holds depends on all of it.
  return config_.prefix_cache && !sequence.is_beam() && sequence.params.prefix_length == 0 &&
         sequence.num_tokens() <= config_.reusable_length;
}

// Blocks of the cache that begin the sequence; at least one token is left to compute.
std::vector<PrefixCache::Match> Scheduler::matches(const Sequence& sequence,
                                                   PrefixId prefix) const {
  std::vector<PrefixCache::Match> found;
  const auto size = static_cast<size_t>(config_.block_size);
  const std::span<const int32_t> tokens(sequence.tokens);
  for (size_t begin = 0; begin + size < tokens.size(); begin += size) {
    const auto match = blocks_.prefix_cache().find(prefix, tokens.subspan(begin, size));
    if (!match) break;
    found.push_back(*match);
    prefix = match->prefix;
  }
  return found;
}

// Blocks for all tokens of a waiting sequence, or none.
bool Scheduler::take_blocks(Sequence& sequence) {
  const bool is_long =
      config_.recompute_length > 0 && sequence.num_tokens() > config_.recompute_length;
  std::string identity = config_.cache_identity + (is_long ? "/long" : "");
  if (sequence.params.adapter >= 0) identity += "/lora" + std::to_string(sequence.params.adapter);
  sequence.prefix = prefix_root(identity, sequence.params.cache_salt, config_.cache_seed);
  const bool looks =
      is_reusable(sequence) && (!sequence.needs_whole_prompt() || sequence.has_output());
  std::vector<PrefixCache::Match> found;
  if (looks) found = matches(sequence, sequence.prefix);
  const auto idle = std::ranges::count_if(
      found, [&](const PrefixCache::Match& match) { return blocks_.references(match.block) == 0; });
  const int64_t missing = ceil_div(sequence.num_tokens(), config_.block_size) - std::ssize(found);
  if (missing + idle > blocks_.num_free()) return false;

  for (const PrefixCache::Match& match : found) sequence.blocks.append_shared(match.block);
  LANNER_CHECK(sequence.blocks.grow(sequence.num_tokens()));
  if (!found.empty()) sequence.prefix = found.back().prefix;
  sequence.num_published = static_cast<int>(found.size());
  sequence.num_computed = sequence.num_published * config_.block_size;
  if (!sequence.has_started) {
    sequence.has_started = true;
    sequence.num_cached = sequence.num_computed;
    if (looks) num_lookup_tokens_ += static_cast<uint64_t>(sequence.num_tokens());
    num_hit_tokens_ += static_cast<uint64_t>(sequence.num_cached);
  }
  return true;
}

// Tells the prefix cache of the blocks that have become full.
void Scheduler::publish(Sequence& sequence) {
  if (!is_reusable(sequence)) return;
  const std::span<const int32_t> tokens(sequence.tokens);
  const auto size = static_cast<size_t>(config_.block_size);
  for (; (sequence.num_published + 1) * config_.block_size <= sequence.num_computed;
       ++sequence.num_published) {
    const auto index = static_cast<size_t>(sequence.num_published);
    sequence.prefix = blocks_.prefix_cache().insert(
        sequence.prefix, tokens.subspan(index * size, size), sequence.blocks.blocks()[index]);
  }
}

bool Scheduler::has_prompt() const {
  return std::ranges::any_of(running_, [](const Sequence* sequence) {
    return !sequence->has_output() && sequence->num_uncomputed() > 0;
  });
}

const Sequence* Scheduler::find(SequenceId id) const {
  const auto it = sequences_.find(id);
  return it == sequences_.end() ? nullptr : it->second.get();
}

}  // namespace lanner
