// SPDX-License-Identifier: Apache-2.0
// Random short histories of the scheduler against a plain model of what it promises: every token of
// every sequence with what it was given, and every slot of the cache with what was written there.
#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "lanner/error.h"
#include "scheduler/scheduler.h"

namespace lanner {
namespace {

constexpr int32_t kEos = 0;
constexpr int kHistories = 12000;
constexpr int kEndless = 1 << 30;

uint64_t mix(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * 0x9E3779B97F4A7C15;
  return hash ^ (hash >> 29);
}

// What the model knows of a sequence that has not ended.
struct Shadow {
  int priority = 0;
  int branch = 0;
  int width = 1;
  Branching branching = Branching::kNone;
  std::string salt;
  std::vector<int32_t> tokens;
  int num_prompt_tokens = 0;
  int num_computed = 0;
  int max_tokens = 0;
  int min_tokens = 0;
  bool ignore_eos = false;
  bool prompt_logits = false;
  HiddenStates hidden_states = HiddenStates::kNone;
  std::vector<int32_t> drafts = {};
  std::vector<uint64_t> cached = {};  // what the slots of its computed tokens must hold

  int length() const { return static_cast<int>(tokens.size()); }
  int num_output_tokens() const { return length() - num_prompt_tokens; }
  bool is_beam() const { return branching == Branching::kBeams && num_output_tokens() > 0; }
  bool wants_hidden() const { return hidden_states != HiddenStates::kNone; }
};

class History {
 public:
  explicit History(uint32_t seed)
      : random_(seed),
        config_(make_config()),
        priorities_(between(0, 3) == 0),
        branches_(between(0, 2) == 0),
        scheduler_(config_),
        memory_(static_cast<size_t>(config_.num_blocks * config_.block_size)) {}

  void run() {
    const int num_steps = between(1, 40);
    for (int i = 0; i < num_steps && !failed(); ++i) {
      if (between(0, 2) == 0) add();
      if (between(0, 15) == 0) finish_any();
      step();
    }
    // Nothing new comes: the first in line always goes on, so this is the longest it can take.
    const int bound = static_cast<int>(alive_.size() + 1) * scheduler_.max_context() * 8;
    for (int i = 0; i < bound && scheduler_.has_work() && !failed(); ++i) step();
    if (failed()) return;
    EXPECT_FALSE(scheduler_.has_work()) << "starved";
    EXPECT_TRUE(alive_.empty());
    EXPECT_EQ(scheduler_.blocks().num_free(), config_.num_blocks);
    EXPECT_EQ(num_ended_, num_started_) << "every sequence ends once";
  }

  uint64_t num_preemptions() const { return scheduler_.num_preemptions(); }
  bool hit() const { return scheduler_.num_hit_tokens() > 0; }
  bool copied() const { return copied_; }
  bool accepted() const { return accepted_; }
  bool restarted() const { return restarted_; }
  bool pooled() const { return pooled_; }

 private:
  static bool failed() { return testing::Test::HasFailure(); }

  int between(int low, int high) {
    return low + static_cast<int>(random_() % static_cast<uint32_t>(high - low + 1));
  }

  SchedulerConfig make_config() {
    SchedulerConfig config{.max_tokens_per_step = between(1, 12),
                           .max_sequences = between(1, 6),
                           .max_context = between(2, 30),
                           .num_blocks = between(1, 12),
                           .block_size = between(1, 4),
                           .eos_token_ids = {kEos}};
    config.prefix_cache = between(0, 3) > 0;
    if (between(0, 3) == 0) config.recompute_length = between(1, 20);
    if (between(0, 3) == 0) config.reusable_length = between(0, 20);
    config.max_logits_rows = between(1, 12);
    return config;
  }

  // Few different ones, so that sequences begin alike.
  int32_t any_token() { return between(0, 9) == 0 ? between(0, 99) : between(0, 1); }

  void add() {
    if (scheduler_.max_context() < 2) return;
    Shadow shadow;
    shadow.priority = priorities_ ? between(-1, 1) : 0;
    shadow.num_prompt_tokens = between(1, scheduler_.max_context() - 1);
    for (int i = 0; i < shadow.num_prompt_tokens; ++i) shadow.tokens.push_back(any_token());
    shadow.max_tokens = between(1, 30);
    shadow.min_tokens = between(0, 3) == 0 ? between(0, shadow.max_tokens) : 0;
    shadow.ignore_eos = between(0, 1) == 0;
    shadow.salt = between(0, 3) == 0 ? "salt" : "";
    shadow.prompt_logits = between(0, 15) == 0;
    has_prompt_logits_ = has_prompt_logits_ || shadow.prompt_logits;
    if (branches_ && between(0, 1) == 0) {
      shadow.width = between(2, 4);
      shadow.branching = between(0, 1) == 0 ? Branching::kIndependent : Branching::kBeams;
    }

    if (between(0, 7) == 0) make_hidden(shadow);

    SequenceParams params;
    params.id = next_id_;
    params.prompt = shadow.tokens;
    if (shadow.max_tokens < 25)
      params.max_tokens = shadow.max_tokens;
    else
      shadow.max_tokens = kEndless;
    params.min_tokens = shadow.min_tokens;
    params.ignore_eos = shadow.ignore_eos;
    params.priority = shadow.priority;
    params.cache_salt = shadow.salt;
    params.prompt_logits = shadow.prompt_logits;
    params.hidden_states = shadow.hidden_states;
    params.branching = shadow.branching;
    params.width = shadow.width;
    if (shadow.branching == Branching::kBeams) {
      try {
        scheduler_.check_beams(params);
      } catch (const Error&) {
        return;  // could not run even alone
      }
    }
    next_id_ += static_cast<SequenceId>(shadow.width);
    ++num_started_;
    scheduler_.add(params);
    alive_.emplace(params.id, std::move(shadow));
  }

  // A prompt may be as long as the context then.
  void make_hidden(Shadow& shadow) {
    shadow.hidden_states = static_cast<HiddenStates>(between(1, 3));
    shadow.prompt_logits = false;
    shadow.width = 1;
    shadow.branching = Branching::kNone;
    if (between(0, 3) == 0) {
      while (shadow.length() < scheduler_.max_context()) shadow.tokens.push_back(any_token());
      shadow.num_prompt_tokens = shadow.length();
    }
  }

  SequenceId root_of(SequenceId id) const {
    return id - static_cast<SequenceId>(alive_.at(id).branch);
  }

  // Of the model only; all beams of a search together.
  void forget(SequenceId id) {
    const Shadow& shadow = alive_.at(id);
    if (!shadow.is_beam()) {
      alive_.erase(id);
      ++num_ended_;
      return;
    }
    const SequenceId root = root_of(id);
    const int width = shadow.width;
    for (int i = 0; i < width; ++i) alive_.erase(root + static_cast<SequenceId>(i));
    ++num_ended_;
  }

  void finish_any() {
    if (alive_.empty()) return;
    auto it = alive_.begin();
    std::advance(it, between(0, static_cast<int>(alive_.size()) - 1));
    const SequenceId id = it->first;
    EXPECT_TRUE(scheduler_.finish(id));
    EXPECT_FALSE(scheduler_.finish(id));
    forget(id);
    check_blocks();
  }

  void step() {
    propose();
    const SchedulerOutput output = scheduler_.schedule();
    restart_beams(output);
    check_output(output);
    check_blocks();
    if (!priorities_ && !branches_) check_order(output);
    if (failed()) return;
    compute(output);
    if (failed()) return;

    const StepResult result = sample(output);
    if (between(0, 15) == 0) finish_any();  // while the step runs
    const std::vector<SequenceEvent> events = scheduler_.update(output, result);
    absorb(output, result);
    check_events(events);
    check_blocks();
  }

  void propose() {
    for (auto& [id, shadow] : alive_) {
      if (shadow.is_beam() || between(0, 2) > 0) continue;
      shadow.drafts.clear();
      for (int i = between(1, 4); i > 0; --i) shadow.drafts.push_back(between(1, 2));
      scheduler_.set_drafts(id, shadow.drafts);
    }
  }

  void restart_beams(const SchedulerOutput& output) {
    for (const SequenceId root : output.restarted) {
      restarted_ = true;
      ASSERT_TRUE(alive_.contains(root));
      Shadow& shadow = alive_.at(root);
      for (int i = 1; i < shadow.width; ++i) alive_.erase(root + static_cast<SequenceId>(i));
      shadow.tokens.resize(static_cast<size_t>(shadow.num_prompt_tokens));
      shadow.num_computed = 0;
    }
  }

  // The plan itself: flat, within the limits, contiguous, and with the right tokens.
  void check_output(const SchedulerOutput& output) {
    EXPECT_EQ(output.empty(), alive_.empty()) << "a step goes on while there is work";
    EXPECT_LE(output.tokens.size(), static_cast<size_t>(config_.max_tokens_per_step));
    EXPECT_LE(output.sequences.size(), static_cast<size_t>(config_.max_sequences));
    EXPECT_LE(scheduler_.num_running(), static_cast<size_t>(config_.max_sequences));
    EXPECT_EQ(output.slots.size(), output.tokens.size());
    int32_t token_begin = 0;
    int32_t block_begin = 0;
    std::set<SequenceId> seen;
    std::set<int64_t> slots;
    for (const ScheduledSequence& scheduled : output.sequences) {
      ASSERT_TRUE(alive_.contains(scheduled.id));
      EXPECT_TRUE(seen.insert(scheduled.id).second);
      Shadow& shadow = alive_.at(scheduled.id);
      if (scheduled.start_position != shadow.num_computed) {
        EXPECT_LT(scheduled.start_position, shadow.length());
        ASSERT_EQ(scheduled.start_position % config_.block_size, 0) << "whole cached blocks";
        if (!config_.prefix_cache || shadow.length() > config_.reusable_length) {
          ASSERT_EQ(scheduled.start_position, 0) << "goes on where it was, or from the start";
        }
      }
      check_hidden(scheduled, shadow);
      begin_at(shadow, scheduled.start_position);
      EXPECT_EQ(scheduled.token_begin, token_begin);
      EXPECT_EQ(scheduled.block_begin, block_begin);
      ASSERT_GE(scheduled.num_tokens, 1 + scheduled.num_drafts);
      token_begin += scheduled.num_tokens;
      block_begin += scheduled.num_blocks;
      const int end = scheduled.start_position + scheduled.num_tokens;
      const int known_end = end - scheduled.num_drafts;
      ASSERT_LE(known_end, shadow.length());
      EXPECT_EQ(scheduled.sample, known_end == shadow.length() && !shadow.wants_hidden());
      check_drafts(scheduled, shadow);
      check_rows(scheduled, shadow);
      std::vector<int32_t> expected(shadow.tokens.begin() + scheduled.start_position,
                                    shadow.tokens.begin() + known_end);
      expected.insert(expected.end(), shadow.drafts.begin(),
                      shadow.drafts.begin() + scheduled.num_drafts);
      EXPECT_TRUE(std::ranges::equal(output.tokens_of(scheduled), expected));
      const auto table = output.blocks_of(scheduled);
      ASSERT_EQ(scheduled.num_blocks, (end + config_.block_size - 1) / config_.block_size);
      for (const int32_t block : table) EXPECT_TRUE(block >= 0 && block < config_.num_blocks);
      for (int i = 0; i < scheduled.num_tokens; ++i) {
        const int64_t at = output.slots_of(scheduled)[static_cast<size_t>(i)];
        EXPECT_EQ(at, slot(table, scheduled.start_position + i));
        EXPECT_TRUE(slots.insert(at).second) << "two tokens in one slot";
      }
    }
    EXPECT_EQ(token_begin, static_cast<int32_t>(output.tokens.size()));
    EXPECT_EQ(block_begin, static_cast<int32_t>(output.blocks.size()));
  }

  void check_drafts(const ScheduledSequence& scheduled, const Shadow& shadow) const {
    if (scheduled.num_drafts == 0) return;
    const int length = shadow.length() + scheduled.num_drafts;
    EXPECT_TRUE(scheduled.sample);
    ASSERT_LE(scheduled.num_drafts, std::ssize(shadow.drafts));
    EXPECT_LT(length, scheduler_.max_context());
    EXPECT_LT(shadow.num_output_tokens() + scheduled.num_drafts, shadow.max_tokens);
    EXPECT_LE(length, config_.reusable_length);
    if (shadow.length() <= config_.recompute_length) {
      EXPECT_LE(length, config_.recompute_length);
    }
  }

  void check_rows(const ScheduledSequence& scheduled, const Shadow& shadow) const {
    if (shadow.prompt_logits && shadow.num_output_tokens() == 0) {
      EXPECT_EQ(scheduled.num_logits, scheduled.num_tokens);
      EXPECT_LE(scheduled.num_tokens, config_.max_logits_rows);
    } else {
      EXPECT_EQ(scheduled.num_logits, scheduled.sample ? 1 + scheduled.num_drafts : 0);
    }
  }

  // Every token whose hidden state is wanted has its row, once unless it is computed again.
  static void check_hidden(const ScheduledSequence& scheduled, const Shadow& shadow) {
    const bool ends = scheduled.start_position + scheduled.num_tokens == shadow.length();
    const bool whole =
        shadow.hidden_states == HiddenStates::kAll || shadow.hidden_states == HiddenStates::kFirst;
    if (whole) {
      EXPECT_TRUE(scheduled.start_position == shadow.num_computed || scheduled.start_position == 0)
          << "hidden states are not in the cache";
    }
    std::set<int> expected;
    for (int i = 0; i < scheduled.num_tokens; ++i) {
      const bool first = scheduled.start_position + i == 0;
      const bool last = ends && i == scheduled.num_tokens - 1;
      if (shadow.hidden_states == HiddenStates::kAll ||
          (shadow.hidden_states == HiddenStates::kFirst && first) ||
          (shadow.hidden_states == HiddenStates::kLast && last)) {
        expected.insert(i);
      }
    }
    std::set<int> actual;
    for (int i = 0; i < scheduled.num_hidden; ++i) actual.insert(scheduled.hidden_begin + i);
    EXPECT_EQ(actual, expected);
  }

  int64_t slot(std::span<const int32_t> table, int position) const {
    return int64_t{table[static_cast<size_t>(position / config_.block_size)]} * config_.block_size +
           position % config_.block_size;
  }

  // K and V as a number: of the tokens up to the position, and of what else they depend on.
  std::vector<uint64_t> contents(const Shadow& shadow, std::span<const int32_t> tokens) const {
    const bool is_long = config_.recompute_length > 0 && shadow.length() > config_.recompute_length;
    uint64_t hash = mix(mix(1, shadow.salt.size()), is_long ? 1 : 0);
    std::vector<uint64_t> all;
    for (const int32_t token : tokens) {
      hash = mix(hash, static_cast<uint64_t>(token) + 1);
      all.push_back(hash);
    }
    return all;
  }

  // A sequence that is computed from `start` on takes what is before from others.
  void begin_at(Shadow& shadow, int start) const {
    if (start != shadow.num_computed) {
      shadow.cached = contents(shadow, shadow.tokens);
      shadow.num_computed = start;
    }
    shadow.cached.resize(static_cast<size_t>(start));
  }

  // Exact accounting: a block has as many owners as its count says, and what nobody owns is free.
  void check_blocks() {
    std::map<int32_t, int> owners;
    size_t running = 0;
    for (const auto& [id, shadow] : alive_) {
      const Sequence* sequence = scheduler_.find(id);
      ASSERT_NE(sequence, nullptr) << id;
      EXPECT_EQ(sequence->tokens, shadow.tokens);
      const auto blocks = sequence->blocks.blocks();
      std::set<int32_t> distinct(blocks.begin(), blocks.end());
      EXPECT_EQ(distinct.size(), blocks.size()) << "a block twice";
      for (const int32_t block : blocks) ++owners[block];
      if (sequence->state == SequenceState::kWaiting) {
        EXPECT_TRUE(blocks.empty());
        EXPECT_EQ(sequence->num_computed, 0);
      } else {
        ++running;
      }
    }
    for (const auto& [block, count] : owners) {
      EXPECT_EQ(scheduler_.blocks().references(block), count);
    }
    EXPECT_EQ(scheduler_.blocks().num_free(), config_.num_blocks - static_cast<int>(owners.size()));
    EXPECT_EQ(scheduler_.num_running(), running);
    EXPECT_EQ(scheduler_.num_waiting(), alive_.size() - running);
    if (!config_.prefix_cache) {
      EXPECT_EQ(scheduler_.blocks().prefix_cache().num_known(), 0);
    }
  }

  // With equal priorities: nothing waits behind a later one, the first makes progress in every
  // step, and no decoding sequence misses one unless it was thrown out.
  void check_order(const SchedulerOutput& output) {
    std::set<SequenceId> scheduled;
    for (const ScheduledSequence& s : output.sequences) scheduled.insert(s.id);
    bool waiting_seen = false;
    for (const auto& [id, shadow] : alive_) {  // ids rise with arrival
      const Sequence* sequence = scheduler_.find(id);
      if (sequence->state == SequenceState::kWaiting) {
        waiting_seen = true;
        continue;
      }
      EXPECT_FALSE(waiting_seen) << "overtaken";
      if (sequence->num_uncomputed() == 1) {
        EXPECT_TRUE(scheduled.contains(id)) << "a decoding sequence misses a step";
      }
    }
    if (!alive_.empty()) {
      EXPECT_TRUE(scheduled.contains(alive_.begin()->first));
    }
  }

  // What a model does: copy blocks, write the new tokens, read every earlier one from the cache.
  void compute(const SchedulerOutput& output) {
    const auto size = static_cast<size_t>(config_.block_size);
    for (const BlockCopy& copy : output.copies) {
      copied_ = true;
      std::copy_n(memory_.begin() + copy.from * config_.block_size, size,
                  memory_.begin() + copy.to * config_.block_size);
    }
    for (const ScheduledSequence& scheduled : output.sequences) {
      Shadow& shadow = alive_.at(scheduled.id);
      std::vector<int32_t> tokens(shadow.tokens.begin(),
                                  shadow.tokens.begin() + scheduled.start_position);
      const auto added = output.tokens_of(scheduled);
      tokens.insert(tokens.end(), added.begin(), added.end());
      const std::vector<uint64_t> all = contents(shadow, tokens);
      const bool by_length = shadow.length() > config_.reusable_length;
      for (size_t i = 0; i < added.size(); ++i) {
        const uint64_t content = all[static_cast<size_t>(scheduled.start_position) + i];
        shadow.cached.push_back(by_length ? mix(content, static_cast<uint64_t>(shadow.length()))
                                          : content);
        memory_[static_cast<size_t>(output.slots_of(scheduled)[i])] = shadow.cached.back();
      }
    }
    for (const ScheduledSequence& scheduled : output.sequences) {
      const Shadow& shadow = alive_.at(scheduled.id);
      const auto table = output.blocks_of(scheduled);
      for (size_t position = 0; position < shadow.cached.size(); ++position) {
        EXPECT_EQ(memory_[static_cast<size_t>(slot(table, static_cast<int>(position)))],
                  shadow.cached[position])
            << "sequence " << scheduled.id << " lost position " << position;
      }
    }
  }

  StepResult sample(const SchedulerOutput& output) {
    StepResult result;
    for (const ScheduledSequence& scheduled : output.sequences) {
      if (!scheduled.sample) continue;
      const Shadow& shadow = alive_.at(scheduled.id);
      const size_t before = result.tokens.size();
      if (shadow.is_beam()) {
        result.tokens.push_back(between(1, 9));
        result.parents.push_back(between(0, shadow.width - 1));
      } else if (shadow.width > 1 && shadow.num_output_tokens() == 0) {
        for (int i = 0; i < shadow.width; ++i) result.tokens.push_back(between(0, 9));
      } else {
        const auto drafts =
            output.tokens_of(scheduled).last(static_cast<size_t>(scheduled.num_drafts));
        const int accepted = between(0, scheduled.num_drafts);
        accepted_ = accepted_ || accepted > 0;
        result.tokens.insert(result.tokens.end(), drafts.begin(), drafts.begin() + accepted);
        result.tokens.push_back(between(0, 99) == 0 ? -1 : between(0, 20));
        for (int i = between(0, 9) == 0 ? between(1, 3) : 0; i > 0; --i) {  // certain to follow
          if (result.tokens.back() >= 0) result.tokens.push_back(between(1, 20));
        }
      }
      result.counts.push_back(static_cast<int32_t>(result.tokens.size() - before));
      result.parents.resize(result.tokens.size());
    }
    return result;
  }

  FinishReason expected_reason(const Shadow& shadow) const {
    if (shadow.tokens.back() == kEos && !shadow.ignore_eos &&
        shadow.num_output_tokens() > shadow.min_tokens) {
      return FinishReason::kStop;
    }
    const bool full = shadow.num_output_tokens() >= shadow.max_tokens ||
                      shadow.length() >= scheduler_.max_context();
    return full ? FinishReason::kLength : FinishReason::kNone;
  }

  // What the result must do to the model's sequences; the events that it must cause.
  void absorb(const SchedulerOutput& output, const StepResult& result) {
    expected_.clear();
    size_t row = 0;
    size_t begin = 0;
    for (const ScheduledSequence& scheduled : output.sequences) {
      const auto found = alive_.find(scheduled.id);
      const size_t count = scheduled.sample ? static_cast<size_t>(result.counts[row++]) : 0;
      const std::span<const int32_t> tokens = std::span(result.tokens).subspan(begin, count);
      begin += count;
      if (found == alive_.end()) continue;
      Shadow& shadow = found->second;
      if (shadow.is_beam()) {
        if (shadow.branch == 0) {
          move_beams(scheduled.id, std::span(result.tokens).subspan(begin - count),
                     std::span(result.parents).subspan(begin - count));
        }
        continue;
      }
      shadow.num_computed = scheduled.start_position + scheduled.num_tokens - scheduled.num_drafts;
      if (shadow.wants_hidden() && shadow.num_computed == shadow.length()) {
        pooled_ = true;
        expected_[scheduled.id] = {
            .id = scheduled.id, .tokens = {}, .finish_reason = FinishReason::kStop};
        forget(scheduled.id);
        continue;
      }
      if (!scheduled.sample) continue;
      const bool branches = shadow.width > 1 && shadow.num_output_tokens() == 0;
      if (!branches) {
        const auto drafts =
            output.tokens_of(scheduled).last(static_cast<size_t>(scheduled.num_drafts));
        advance(scheduled.id, tokens, drafts);
        continue;
      }
      const Shadow root = shadow;
      for (int i = 0; i < root.width; ++i) {
        Shadow copy = root;
        copy.branch = i;
        const SequenceId id = scheduled.id + static_cast<SequenceId>(i);
        alive_.insert_or_assign(id, copy);
        if (i > 0 && root.branching == Branching::kIndependent) ++num_started_;
        if (root.branching == Branching::kBeams) {
          alive_.at(id).tokens.push_back(tokens[static_cast<size_t>(i)]);
        } else {
          advance(id, tokens.subspan(static_cast<size_t>(i), 1), {});
        }
      }
    }
  }

  void advance(SequenceId id, std::span<const int32_t> tokens, std::span<const int32_t> drafts) {
    Shadow& shadow = alive_.at(id);
    SequenceEvent event{.id = id, .tokens = {}, .finish_reason = FinishReason::kNone};
    const int before = shadow.length();
    int accepted = 0;
    bool right = true;
    for (size_t i = 0; i < tokens.size() && event.finish_reason == FinishReason::kNone; ++i) {
      if (tokens[i] < 0) {
        event.finish_reason = FinishReason::kError;
        break;
      }
      right = right && i < drafts.size() && drafts[i] == tokens[i];
      if (right) ++accepted;
      shadow.tokens.push_back(tokens[i]);
      event.tokens.push_back(tokens[i]);
      event.finish_reason = expected_reason(shadow);
    }
    shadow.drafts.clear();
    expected_[id] = event;
    if (event.finish_reason != FinishReason::kNone) return forget(id);
    const Sequence* sequence = scheduler_.find(id);
    ASSERT_NE(sequence, nullptr);
    if (before <= config_.recompute_length && shadow.length() > config_.recompute_length) {
      EXPECT_EQ(sequence->state, SequenceState::kWaiting) << "is to be computed again";
    }
    if (sequence->state == SequenceState::kWaiting) {
      shadow.num_computed = 0;
      return;
    }
    shadow.num_computed = std::min(shadow.num_computed + accepted, shadow.length() - 1);
    EXPECT_EQ(sequence->num_computed, shadow.num_computed);
  }

  void move_beams(SequenceId root, std::span<const int32_t> tokens,
                  std::span<const int32_t> parents) {
    const auto width = static_cast<size_t>(alive_.at(root).width);
    std::vector<Shadow> old;
    for (size_t i = 0; i < width; ++i) {
      old.push_back(alive_.at(root + i));
      old.back().num_computed = old.back().length();
    }
    for (size_t i = 0; i < width; ++i) {
      Shadow& beam = alive_.at(root + i);
      beam = old[static_cast<size_t>(parents[i])];
      beam.branch = static_cast<int>(i);
      beam.tokens.push_back(tokens[i]);
    }
    // Nobody ends them but the search.
    if (alive_.at(root).length() + 1 < scheduler_.max_context() &&
        alive_.at(root).num_output_tokens() < alive_.at(root).max_tokens && between(0, 9) > 0) {
      return;
    }
    EXPECT_TRUE(scheduler_.finish(root + static_cast<SequenceId>(between(0, 1))));
    forget(root);
  }

  void check_events(const std::vector<SequenceEvent>& events) {
    EXPECT_EQ(events.size(), expected_.size());
    for (const SequenceEvent& event : events) {
      ASSERT_TRUE(expected_.contains(event.id)) << "news of a sequence that has none";
      EXPECT_EQ(event.tokens, expected_.at(event.id).tokens);
      EXPECT_EQ(event.finish_reason, expected_.at(event.id).finish_reason);
      EXPECT_EQ(scheduler_.find(event.id) == nullptr, event.finish_reason != FinishReason::kNone);
      expected_.erase(event.id);
    }
    EXPECT_TRUE(expected_.empty()) << "a token got lost";
    // The earlier one speaks first, unless its chunks are held small.
    if (priorities_ || branches_ || has_prompt_logits_) return;
    bool silent_seen = false;
    for (const auto& [id, shadow] : alive_) {
      if (shadow.num_output_tokens() == 0)
        silent_seen = true;
      else
        EXPECT_FALSE(silent_seen) << "a later sequence got the first word";
    }
  }

  std::mt19937 random_;
  const SchedulerConfig config_;
  const bool priorities_;
  const bool branches_;
  Scheduler scheduler_;
  std::map<SequenceId, Shadow> alive_;
  std::map<SequenceId, SequenceEvent> expected_;
  std::vector<uint64_t> memory_;  // [slots]
  SequenceId next_id_ = 1000;
  uint64_t num_started_ = 0;
  uint64_t num_ended_ = 0;
  bool has_prompt_logits_ = false;
  bool copied_ = false;
  bool accepted_ = false;
  bool restarted_ = false;
  bool pooled_ = false;
};

TEST(SchedulerProperties, HoldOverRandomHistories) {
  int preempted = 0;
  int hit = 0;
  int copied = 0;
  int accepted = 0;
  int restarted = 0;
  int pooled = 0;
  for (uint32_t seed = 0; seed < kHistories; ++seed) {
    History history(seed);
    history.run();
    ASSERT_FALSE(HasFailure()) << "history with seed " << seed;
    preempted += history.num_preemptions() > 0 ? 1 : 0;
    hit += history.hit() ? 1 : 0;
    copied += history.copied() ? 1 : 0;
    accepted += history.accepted() ? 1 : 0;
    restarted += history.restarted() ? 1 : 0;
    pooled += history.pooled() ? 1 : 0;
  }
  // Histories too tame would show nothing.
  EXPECT_GT(preempted, kHistories / 10);
  EXPECT_GT(hit, kHistories / 12);
  EXPECT_GT(copied, kHistories / 20);
  EXPECT_GT(accepted, kHistories / 10);
  EXPECT_GT(restarted, kHistories / 400);
  EXPECT_GT(pooled, kHistories / 10);
}

}  // namespace
}  // namespace lanner
