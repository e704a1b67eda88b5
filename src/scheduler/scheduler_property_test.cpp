// SPDX-License-Identifier: Apache-2.0
// Random short histories of the scheduler against a plain model of what it promises: every token of
// every sequence with what it was given, and every slot of the cache with what was written there.
#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "scheduler/scheduler.h"

namespace lanner {
namespace {

constexpr int32_t kEos = 0;
constexpr int kHistories = 12000;

// What the model knows of a sequence that has not ended.
struct Shadow {
  int priority = 0;
  uint64_t arrival = 0;
  std::vector<int32_t> tokens;
  int num_prompt_tokens = 0;
  int num_computed = 0;
  int max_tokens = 0;
  bool ignore_eos = false;

  int num_output_tokens() const { return static_cast<int>(tokens.size()) - num_prompt_tokens; }
};

// What a slot of the cache holds.
struct Written {
  SequenceId id = 0;
  int position = -1;
  int32_t token = -1;
  bool operator==(const Written&) const = default;
};

class History {
 public:
  explicit History(uint32_t seed)
      : random_(seed),
        config_{.max_tokens_per_step = between(1, 12),
                .max_sequences = between(1, 6),
                .max_context = between(2, 30),
                .num_blocks = between(1, 12),
                .block_size = between(1, 4),
                .eos_token_ids = {kEos}},
        priorities_(between(0, 3) == 0),
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
    const int bound = static_cast<int>(alive_.size()) * scheduler_.max_context() * 2;
    for (int i = 0; i < bound && scheduler_.has_work() && !failed(); ++i) step();
    if (failed()) return;
    EXPECT_FALSE(scheduler_.has_work()) << "starved";
    EXPECT_TRUE(alive_.empty());
    EXPECT_EQ(scheduler_.blocks().num_free(), config_.num_blocks);
    EXPECT_EQ(num_ended_, num_added_) << "every sequence ends once";
  }

  uint64_t num_preemptions() const { return scheduler_.num_preemptions(); }

 private:
  static bool failed() { return testing::Test::HasFailure(); }

  int between(int low, int high) {
    return low + static_cast<int>(random_() % static_cast<uint32_t>(high - low + 1));
  }

  void add() {
    if (scheduler_.max_context() < 2) return;
    Shadow shadow;
    shadow.priority = priorities_ ? between(-1, 1) : 0;
    shadow.arrival = num_added_++;
    shadow.num_prompt_tokens = between(1, scheduler_.max_context() - 1);
    for (int i = 0; i < shadow.num_prompt_tokens; ++i) shadow.tokens.push_back(between(0, 99));
    shadow.max_tokens = between(1, 30);
    shadow.ignore_eos = between(0, 1) == 0;

    SequenceParams params;
    params.id = 1000 + shadow.arrival;
    params.prompt = shadow.tokens;
    if (shadow.max_tokens < 25)
      params.max_tokens = shadow.max_tokens;
    else
      shadow.max_tokens = 1 << 30;
    params.ignore_eos = shadow.ignore_eos;
    params.priority = shadow.priority;
    alive_.emplace(params.id, shadow);
    scheduler_.add(params);
  }

  void finish_any() {
    if (alive_.empty()) return;
    auto it = alive_.begin();
    std::advance(it, between(0, static_cast<int>(alive_.size()) - 1));
    EXPECT_TRUE(scheduler_.finish(it->first));
    EXPECT_FALSE(scheduler_.finish(it->first));
    alive_.erase(it);
    ++num_ended_;
    check_blocks();
  }

  void step() {
    const SchedulerOutput output = scheduler_.schedule();
    check_output(output);
    check_blocks();
    if (!priorities_) check_order(output);
    if (failed()) return;
    compute(output);

    std::vector<int32_t> sampled;
    std::map<SequenceId, int32_t> token_of;
    for (const ScheduledSequence& scheduled : output.sequences) {
      if (!scheduled.sample) continue;
      sampled.push_back(between(0, 99) == 0 ? -1 : between(0, 20));
      token_of[scheduled.id] = sampled.back();
    }
    if (between(0, 15) == 0) finish_any();  // while the step runs
    const std::vector<SequenceEvent> events = scheduler_.update(output, sampled);
    check_events(events, token_of);
    check_blocks();
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
    std::set<int32_t> blocks;
    for (const ScheduledSequence& scheduled : output.sequences) {
      ASSERT_TRUE(alive_.contains(scheduled.id));
      EXPECT_TRUE(seen.insert(scheduled.id).second);
      Shadow& shadow = alive_.at(scheduled.id);
      if (scheduled.start_position != shadow.num_computed) {
        ASSERT_EQ(scheduled.start_position, 0) << "goes on where it was, or from the start";
        ASSERT_GT(num_preemptions(), 0u);
        shadow.num_computed = 0;
      }
      EXPECT_EQ(scheduled.token_begin, token_begin);
      EXPECT_EQ(scheduled.block_begin, block_begin);
      ASSERT_GE(scheduled.num_tokens, 1);
      token_begin += scheduled.num_tokens;
      block_begin += scheduled.num_blocks;
      const int end = scheduled.start_position + scheduled.num_tokens;
      ASSERT_LE(end, static_cast<int>(shadow.tokens.size()));
      EXPECT_EQ(scheduled.sample, end == static_cast<int>(shadow.tokens.size()));
      EXPECT_TRUE(std::ranges::equal(output.tokens_of(scheduled),
                                     std::span(shadow.tokens)
                                         .subspan(static_cast<size_t>(scheduled.start_position),
                                                  static_cast<size_t>(scheduled.num_tokens))));
      const auto table = output.blocks_of(scheduled);
      ASSERT_EQ(scheduled.num_blocks, (end + config_.block_size - 1) / config_.block_size);
      for (const int32_t block : table) {
        EXPECT_TRUE(block >= 0 && block < config_.num_blocks);
        EXPECT_TRUE(blocks.insert(block).second) << "a block of two sequences";
      }
      for (int i = 0; i < scheduled.num_tokens; ++i) {
        EXPECT_EQ(output.slots_of(scheduled)[static_cast<size_t>(i)],
                  slot(table, scheduled.start_position + i));
      }
    }
    EXPECT_EQ(token_begin, static_cast<int32_t>(output.tokens.size()));
    EXPECT_EQ(block_begin, static_cast<int32_t>(output.blocks.size()));
  }

  int64_t slot(std::span<const int32_t> table, int position) const {
    return int64_t{table[static_cast<size_t>(position / config_.block_size)]} * config_.block_size +
           position % config_.block_size;
  }

  // Exact accounting: what is not free belongs to exactly one sequence.
  void check_blocks() {
    size_t owned = 0;
    std::set<int32_t> distinct;
    size_t running = 0;
    for (const auto& [id, shadow] : alive_) {
      const Sequence* sequence = scheduler_.find(id);
      ASSERT_NE(sequence, nullptr);
      const auto blocks = sequence->blocks.blocks();
      owned += blocks.size();
      distinct.insert(blocks.begin(), blocks.end());
      if (sequence->state == SequenceState::kWaiting) {
        EXPECT_TRUE(blocks.empty());
        EXPECT_EQ(sequence->num_computed, 0);
      } else {
        ++running;
      }
    }
    EXPECT_EQ(distinct.size(), owned);
    for (const int32_t block : distinct) EXPECT_EQ(scheduler_.blocks().references(block), 1);
    EXPECT_EQ(scheduler_.blocks().num_free(), config_.num_blocks - static_cast<int>(owned));
    EXPECT_EQ(scheduler_.num_running(), running);
    EXPECT_EQ(scheduler_.num_waiting(), alive_.size() - running);
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

  // What a model does: read every earlier token from the cache, write the new ones.
  void compute(const SchedulerOutput& output) {
    for (const ScheduledSequence& scheduled : output.sequences) {
      const auto tokens = output.tokens_of(scheduled);
      const auto slots = output.slots_of(scheduled);
      for (size_t i = 0; i < tokens.size(); ++i) {
        memory_[static_cast<size_t>(slots[i])] = {
            scheduled.id, scheduled.start_position + static_cast<int>(i), tokens[i]};
      }
    }
    for (const ScheduledSequence& scheduled : output.sequences) {
      Shadow& shadow = alive_.at(scheduled.id);
      const auto table = output.blocks_of(scheduled);
      shadow.num_computed = scheduled.start_position + scheduled.num_tokens;
      for (int position = 0; position < shadow.num_computed; ++position) {
        const Written expected{scheduled.id, position,
                               shadow.tokens[static_cast<size_t>(position)]};
        EXPECT_TRUE(memory_[static_cast<size_t>(slot(table, position))] == expected)
            << "sequence " << scheduled.id << " lost position " << position;
      }
    }
  }

  void check_events(const std::vector<SequenceEvent>& events,
                    std::map<SequenceId, int32_t>& token_of) {
    for (const SequenceEvent& event : events) {
      ASSERT_TRUE(alive_.contains(event.id)) << "news of a sequence that has ended";
      ASSERT_TRUE(token_of.contains(event.id));
      Shadow& shadow = alive_.at(event.id);
      const int32_t token = token_of.at(event.id);
      token_of.erase(event.id);
      FinishReason expected = FinishReason::kNone;
      if (token < 0) {
        expected = FinishReason::kError;
        EXPECT_TRUE(event.tokens.empty());
      } else {
        ASSERT_EQ(event.tokens, std::vector<int32_t>{token});
        shadow.tokens.push_back(token);
        if (token == kEos && !shadow.ignore_eos) {
          expected = FinishReason::kStop;
        } else if (shadow.num_output_tokens() == shadow.max_tokens ||
                   static_cast<int>(shadow.tokens.size()) == scheduler_.max_context()) {
          expected = FinishReason::kLength;
        }
      }
      EXPECT_EQ(event.finish_reason, expected);
      EXPECT_EQ(scheduler_.find(event.id) == nullptr, expected != FinishReason::kNone);
      if (expected != FinishReason::kNone) {
        alive_.erase(event.id);
        ++num_ended_;
      }
    }
    for (const auto& [id, token] : token_of) {
      EXPECT_FALSE(alive_.contains(id)) << "a token got lost";
    }
    if (priorities_) return;
    // The earlier one speaks first.
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
  Scheduler scheduler_;
  std::map<SequenceId, Shadow> alive_;
  std::vector<Written> memory_;  // [slots]
  uint64_t num_added_ = 0;
  uint64_t num_ended_ = 0;
};

TEST(SchedulerProperties, HoldOverRandomHistories) {
  int with_preemption = 0;
  for (uint32_t seed = 0; seed < kHistories; ++seed) {
    History history(seed);
    history.run();
    ASSERT_FALSE(HasFailure()) << "history with seed " << seed;
    if (history.num_preemptions() > 0) ++with_preemption;
  }
  EXPECT_GT(with_preemption, kHistories / 10) << "histories too tame to show anything";
}

}  // namespace
}  // namespace lanner
