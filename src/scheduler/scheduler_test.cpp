// SPDX-License-Identifier: Apache-2.0
#include "scheduler/scheduler.h"

#include <numeric>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "lanner/error.h"

namespace lanner {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int32_t kEos = 2;

SchedulerConfig config() {
  return {.max_tokens_per_step = 8,
          .max_sequences = 4,
          .max_context = 64,
          .num_blocks = 16,
          .block_size = 4,
          .eos_token_ids = {kEos, 3},
          .prefix_cache = false};
}

// A token for every sequence with `sample`.
StepResult each_gets(const std::vector<int32_t>& tokens) {
  return {.tokens = tokens, .counts = std::vector<int32_t>(tokens.size(), 1), .parents = {}};
}

SequenceParams sequence(SequenceId id, int prompt_tokens) {
  SequenceParams params;
  params.id = id;
  params.prompt.resize(static_cast<size_t>(prompt_tokens));
  std::iota(params.prompt.begin(), params.prompt.end(), static_cast<int32_t>(100 * id));
  return params;
}

// What a step computes, readable: {id, start, tokens, sample}.
struct Part {
  SequenceId id;
  int start;
  int num_tokens;
  bool sample;
  bool operator==(const Part&) const = default;
};

void PrintTo(const Part& part, std::ostream* out) {
  *out << "{" << part.id << ", " << part.start << ", " << part.num_tokens << ", " << part.sample
       << "}";
}

std::vector<Part> parts(const SchedulerOutput& output) {
  std::vector<Part> result;
  for (const ScheduledSequence& s : output.sequences) {
    result.push_back({s.id, s.start_position, s.num_tokens, s.sample});
  }
  return result;
}

// Runs one step; every sampled token is `token`.
std::vector<SequenceEvent> step(Scheduler& scheduler, std::vector<Part>* computed = nullptr,
                                int32_t token = 50) {
  const SchedulerOutput output = scheduler.schedule();
  if (computed != nullptr) *computed = parts(output);
  std::vector<int32_t> sampled;
  for (const ScheduledSequence& s : output.sequences) {
    if (s.sample) sampled.push_back(token);
  }
  return scheduler.update(output, each_gets(sampled));
}

TEST(Scheduler, ComputesALongPromptInChunksAndThenDecodes) {
  Scheduler scheduler(config());
  scheduler.add(sequence(1, 19));
  std::vector<Part> computed;
  EXPECT_THAT(step(scheduler, &computed), IsEmpty());
  EXPECT_THAT(computed, ElementsAre(Part{1, 0, 8, false}));
  EXPECT_THAT(step(scheduler, &computed), IsEmpty());
  EXPECT_THAT(computed, ElementsAre(Part{1, 8, 8, false}));
  const std::vector<SequenceEvent> events = step(scheduler, &computed);
  EXPECT_THAT(computed, ElementsAre(Part{1, 16, 3, true}));
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].id, 1u);
  EXPECT_THAT(events[0].tokens, ElementsAre(50));
  EXPECT_EQ(events[0].finish_reason, FinishReason::kNone);
  step(scheduler, &computed);
  EXPECT_THAT(computed, ElementsAre(Part{1, 19, 1, true}));
}

TEST(Scheduler, DescribesAStepAsFlatData) {
  Scheduler scheduler(config());
  scheduler.add(sequence(1, 5));
  scheduler.add(sequence(2, 9));
  const SchedulerOutput output = scheduler.schedule();
  EXPECT_EQ(output.step, 1u);
  EXPECT_THAT(output.tokens, ElementsAre(100, 101, 102, 103, 104, 200, 201, 202));
  EXPECT_THAT(output.slots, ElementsAre(0, 1, 2, 3, 4, 8, 9, 10));
  EXPECT_THAT(output.blocks, ElementsAre(0, 1, 2));
  ASSERT_EQ(output.sequences.size(), 2u);
  const ScheduledSequence& second = output.sequences[1];
  EXPECT_THAT(output.tokens_of(second), ElementsAre(200, 201, 202));
  EXPECT_THAT(output.slots_of(second), ElementsAre(8, 9, 10));
  EXPECT_THAT(output.blocks_of(second), ElementsAre(2)) << "only what this step reads";
}

TEST(Scheduler, MixesPromptsIntoDecodingUnderTheBudget) {
  Scheduler scheduler(config());
  scheduler.add(sequence(1, 3));
  std::vector<Part> computed;
  step(scheduler);
  scheduler.add(sequence(2, 10));
  scheduler.add(sequence(3, 4));
  step(scheduler, &computed);
  EXPECT_THAT(computed, ElementsAre(Part{1, 3, 1, true}, Part{2, 0, 7, false}));
  step(scheduler, &computed);
  EXPECT_THAT(computed, ElementsAre(Part{1, 4, 1, true}, Part{2, 7, 3, true}, Part{3, 0, 4, true}));
  step(scheduler, &computed);
  EXPECT_THAT(computed,
              ElementsAre(Part{1, 5, 1, true}, Part{2, 10, 1, true}, Part{3, 4, 1, true}));
}

TEST(Scheduler, RunsAtMostMaxSequences) {
  Scheduler scheduler(config());
  for (SequenceId id = 1; id <= 6; ++id) scheduler.add(sequence(id, 1));
  step(scheduler);
  EXPECT_EQ(scheduler.num_running(), 4u);
  EXPECT_EQ(scheduler.num_waiting(), 2u);
  EXPECT_TRUE(scheduler.finish(2));
  std::vector<Part> computed;
  step(scheduler, &computed);
  EXPECT_EQ(computed.back(), (Part{5, 0, 1, true}));
}

TEST(Scheduler, NeverRunsMoreThanOneStepCanDecode) {
  SchedulerConfig small = config();
  small.max_tokens_per_step = 2;
  Scheduler scheduler(small);
  for (SequenceId id = 1; id <= 3; ++id) scheduler.add(sequence(id, 2));
  for (int i = 0; i < 3; ++i) step(scheduler);
  std::vector<Part> computed;
  step(scheduler, &computed);
  EXPECT_THAT(computed, ElementsAre(Part{1, 4, 1, true}, Part{2, 2, 1, true}));
}

TEST(Scheduler, StartsTheFirstInLineOnlyWithBlocksForAllOfIt) {
  SchedulerConfig small = config();
  small.num_blocks = 4;
  Scheduler scheduler(small);
  scheduler.add(sequence(1, 7));  // two blocks
  scheduler.add(sequence(2, 9));  // three
  scheduler.add(sequence(3, 1));  // one: would fit, but must not overtake
  std::vector<Part> computed;
  step(scheduler, &computed);
  EXPECT_THAT(computed, ElementsAre(Part{1, 0, 7, true}));
  EXPECT_EQ(scheduler.num_waiting(), 2u);
  scheduler.finish(1);
  step(scheduler, &computed);
  EXPECT_THAT(computed, ElementsAre(Part{2, 0, 8, false}));
}

TEST(Scheduler, ThrowsOutTheLatestWhenBlocksRunOutAndComputesItAgain) {
  SchedulerConfig small = config();
  small.num_blocks = 4;
  Scheduler scheduler(small);
  scheduler.add(sequence(1, 4));
  scheduler.add(sequence(2, 4));
  std::vector<Part> computed;
  for (int i = 0; i < 5; ++i) step(scheduler);  // both have 9 tokens, 8 in their two blocks
  EXPECT_EQ(scheduler.blocks().num_free(), 0);
  EXPECT_EQ(scheduler.num_preemptions(), 0u);
  step(scheduler, &computed);
  EXPECT_THAT(computed, ElementsAre(Part{1, 8, 1, true}));
  EXPECT_EQ(scheduler.num_preemptions(), 1u);
  EXPECT_EQ(scheduler.find(2)->state, SequenceState::kWaiting);
  EXPECT_EQ(scheduler.find(2)->num_output_tokens(), 5) << "keeps what it has said";
  scheduler.finish(1);
  step(scheduler, &computed);
  EXPECT_THAT(computed, ElementsAre(Part{2, 0, 8, false}));
  step(scheduler, &computed);
  EXPECT_THAT(computed, ElementsAre(Part{2, 8, 1, true}));
}

TEST(Scheduler, ComputesASequenceAgainOnceItGrowsPastTheRecomputeLength) {
  SchedulerConfig with_length = config();
  with_length.recompute_length = 6;
  Scheduler scheduler(with_length);
  scheduler.add(sequence(1, 5));
  scheduler.add(sequence(2, 3));
  std::vector<Part> computed;
  step(scheduler, &computed);
  EXPECT_THAT(computed, ElementsAre(Part{1, 0, 5, true}, Part{2, 0, 3, true}));
  step(scheduler, &computed);
  EXPECT_THAT(computed, ElementsAre(Part{1, 5, 1, true}, Part{2, 3, 1, true}));
  EXPECT_EQ(scheduler.num_waiting(), 1u) << "7 tokens";
  step(scheduler, &computed);
  EXPECT_THAT(computed, ElementsAre(Part{2, 4, 1, true}, Part{1, 0, 7, true}));
  step(scheduler, &computed);
  EXPECT_THAT(computed, ElementsAre(Part{1, 7, 1, true}, Part{2, 5, 1, true}));
  EXPECT_EQ(scheduler.num_preemptions(), 0u);
}

TEST(Scheduler, APromptPastTheRecomputeLengthIsComputedOnce) {
  SchedulerConfig with_length = config();
  with_length.recompute_length = 6;
  Scheduler scheduler(with_length);
  scheduler.add(sequence(1, 7));
  std::vector<Part> computed;
  for (int i = 0; i < 5; ++i) {
    step(scheduler, &computed);
    EXPECT_THAT(computed, ElementsAre(i == 0 ? Part{1, 0, 7, true} : Part{1, 6 + i, 1, true}));
  }
}

TEST(Scheduler, OneSequenceMayFillTheWholeCache) {
  SchedulerConfig small = config();
  small.num_blocks = 3;
  Scheduler scheduler(small);
  EXPECT_EQ(scheduler.max_context(), 12);
  scheduler.add(sequence(1, 2));
  std::vector<SequenceEvent> events;
  int num_tokens = 0;
  while (scheduler.has_work()) {
    events = step(scheduler);
    ++num_tokens;
  }
  EXPECT_EQ(num_tokens, 10);
  EXPECT_EQ(events.back().finish_reason, FinishReason::kLength);
  EXPECT_EQ(scheduler.num_preemptions(), 0u);
  EXPECT_EQ(scheduler.blocks().num_free(), 3);
}

TEST(Scheduler, LowerPriorityValuesGoFirst) {
  Scheduler scheduler(config());
  scheduler.add(sequence(1, 8));
  SequenceParams urgent = sequence(2, 8);
  urgent.priority = -1;
  scheduler.add(urgent);
  std::vector<Part> computed;
  step(scheduler, &computed);
  EXPECT_THAT(computed, ElementsAre(Part{2, 0, 8, true}));
  step(scheduler, &computed);
  EXPECT_THAT(computed, ElementsAre(Part{2, 8, 1, true}, Part{1, 0, 7, false}));
}

TEST(Scheduler, APriorityIsWorthALimitedNumberOfArrivals) {
  Scheduler scheduler(config());
  scheduler.add(sequence(1, 2));
  scheduler.finish(1);
  SequenceParams patient = sequence(2, 8);
  patient.priority = 1;
  scheduler.add(patient);
  for (SequenceId id = 3; id < 300; ++id) {  // they come and go
    scheduler.add(sequence(id, 8));
    if (id > 3) scheduler.finish(id - 1);
  }
  std::vector<Part> computed;
  step(scheduler, &computed);
  EXPECT_EQ(computed.front().id, 2u);
}

TEST(Scheduler, AnUrgentSequenceTakesTheBlocksOfALaterOne) {
  SchedulerConfig small = config();
  small.num_blocks = 4;
  Scheduler scheduler(small);
  scheduler.add(sequence(1, 4));
  scheduler.add(sequence(2, 4));
  step(scheduler);
  SequenceParams urgent = sequence(3, 8);
  urgent.priority = -1;
  scheduler.add(urgent);
  std::vector<Part> computed;
  step(scheduler, &computed);
  EXPECT_EQ(computed.front().id, 1u);
  EXPECT_EQ(computed.back(), (Part{3, 0, 7, false}));
  EXPECT_EQ(scheduler.find(2)->state, SequenceState::kWaiting);
}

TEST(Scheduler, TakesBlocksOfEqualBeginningsFromTheCache) {
  SchedulerConfig cached = config();
  cached.prefix_cache = true;
  Scheduler scheduler(cached);
  scheduler.add(sequence(1, 8));
  std::vector<Part> computed;
  step(scheduler, &computed, 50);
  for (int i = 0; i < 3; ++i) step(scheduler, &computed, 51);
  scheduler.finish(1);  // 8 tokens of prompt, 3 computed ones of output
  SequenceParams again = sequence(1, 8);
  again.id = 2;
  scheduler.add(again);
  step(scheduler, &computed);
  EXPECT_THAT(computed, ElementsAre(Part{2, 4, 4, true})) << "one token is left to compute";
  EXPECT_EQ(scheduler.find(2)->num_cached, 4);
  SequenceParams turn = sequence(1, 8);
  turn.id = 3;
  turn.prompt.insert(turn.prompt.end(), {50, 51, 51, 51, 90});
  scheduler.add(turn);
  step(scheduler, &computed);
  EXPECT_EQ(computed.back(), (Part{3, 8, 5, true})) << "the answer's last block was not full";
  EXPECT_EQ(scheduler.num_hit_tokens(), 12u);
  EXPECT_EQ(scheduler.num_lookup_tokens(), 8u + 8u + 13u);
}

TEST(Scheduler, VerifiesDraftsWithTheTokenBeforeThem) {
  Scheduler scheduler(config());
  scheduler.add(sequence(1, 3));
  std::vector<Part> computed;
  step(scheduler, &computed, 50);
  scheduler.set_drafts(1, std::vector<int32_t>{60, 61, 62, 63, 64, 65});
  SchedulerOutput output = scheduler.schedule();
  EXPECT_THAT(parts(output), ElementsAre(Part{1, 3, 4, true})) << "half of what is left of 8";
  EXPECT_EQ(output.sequences[0].num_drafts, 3);
  EXPECT_EQ(output.sequences[0].num_logits, 4);
  EXPECT_THAT(output.tokens, ElementsAre(50, 60, 61, 62));
  const StepResult result{.tokens = {60, 61, 70}, .counts = {3}, .parents = {}};
  const std::vector<SequenceEvent> events = scheduler.update(output, result);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_THAT(events[0].tokens, ElementsAre(60, 61, 70));
  step(scheduler, &computed);
  EXPECT_THAT(computed, ElementsAre(Part{1, 6, 1, true}));
}

TEST(Scheduler, BranchesShareThePromptAndCopyWhatTheyWrite) {
  Scheduler scheduler(config());
  SequenceParams params = sequence(1, 6);
  params.branching = Branching::kIndependent;
  params.width = 3;
  scheduler.add(params);
  SchedulerOutput output = scheduler.schedule();
  const StepResult first{.tokens = {50, 51, kEos}, .counts = {3}, .parents = {}};
  const std::vector<SequenceEvent> events = scheduler.update(output, first);
  EXPECT_EQ(events.size(), 3u);
  EXPECT_EQ(scheduler.find(3), nullptr) << "ended at once";
  EXPECT_EQ(scheduler.blocks().num_free(), 14) << "two blocks for both";
  output = scheduler.schedule();
  EXPECT_THAT(parts(output), ElementsAre(Part{1, 6, 1, true}, Part{2, 6, 1, true}));
  EXPECT_EQ(output.copies.size(), 1u) << "the last owner needs none";
  EXPECT_EQ(output.copies[0].from, 1);
  scheduler.update(output, each_gets({60, 60}));
  EXPECT_TRUE(scheduler.finish(1));
  EXPECT_TRUE(scheduler.finish(2));
  EXPECT_EQ(scheduler.blocks().num_free(), 16);
}

TEST(Scheduler, RefusesBeamsThatCouldNotRunAlone) {
  Scheduler scheduler(config());
  SequenceParams params = sequence(1, 4);
  params.branching = Branching::kBeams;
  params.width = 5;
  EXPECT_THROW(scheduler.add(params), Error) << "more than four at once";
  params.width = 4;
  EXPECT_THROW(scheduler.add(params), Error) << "four of 64 tokens, in 16 blocks of four";
  params.max_tokens = 12;
  scheduler.add(params);
}

TEST(Scheduler, EndsAtAnEndTokenWhichIsPartOfTheOutput) {
  for (const int32_t eos : {kEos, 3}) {
    Scheduler scheduler(config());
    scheduler.add(sequence(1, 2));
    const std::vector<SequenceEvent> events = step(scheduler, nullptr, eos);
    ASSERT_EQ(events.size(), 1u);
    EXPECT_EQ(events[0].finish_reason, FinishReason::kStop);
    EXPECT_THAT(events[0].tokens, ElementsAre(eos));
    EXPECT_FALSE(scheduler.has_work());
    EXPECT_EQ(scheduler.blocks().num_free(), 16);
  }
}

TEST(Scheduler, GoesOnAfterEndTokensIfAskedToButNotAfterStopTokens) {
  Scheduler scheduler(config());
  SequenceParams params = sequence(1, 2);
  params.ignore_eos = true;
  params.stop_token_ids = {70, 60, 65};
  scheduler.add(params);
  EXPECT_EQ(step(scheduler, nullptr, kEos)[0].finish_reason, FinishReason::kNone);
  EXPECT_EQ(step(scheduler, nullptr, 61)[0].finish_reason, FinishReason::kNone);
  EXPECT_EQ(step(scheduler, nullptr, 60)[0].finish_reason, FinishReason::kStop);
}

TEST(Scheduler, EndsAtMaxTokens) {
  Scheduler scheduler(config());
  SequenceParams params = sequence(1, 2);
  params.max_tokens = 2;
  scheduler.add(params);
  EXPECT_EQ(step(scheduler)[0].finish_reason, FinishReason::kNone);
  EXPECT_EQ(step(scheduler)[0].finish_reason, FinishReason::kLength);
  EXPECT_FALSE(scheduler.has_work());
}

TEST(Scheduler, AnEndTokenAsTheLastAllowedTokenIsAStop) {
  Scheduler scheduler(config());
  SequenceParams params = sequence(1, 2);
  params.max_tokens = 1;
  scheduler.add(params);
  EXPECT_EQ(step(scheduler, nullptr, kEos)[0].finish_reason, FinishReason::kStop);
}

TEST(Scheduler, EndsWithAnErrorWhenThereIsNoToken) {
  Scheduler scheduler(config());
  scheduler.add(sequence(1, 2));
  scheduler.add(sequence(2, 2));
  const SchedulerOutput output = scheduler.schedule();
  const std::vector<SequenceEvent> events = scheduler.update(output, each_gets({-1, 50}));
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].finish_reason, FinishReason::kError);
  EXPECT_THAT(events[0].tokens, IsEmpty());
  EXPECT_EQ(events[1].finish_reason, FinishReason::kNone);
  EXPECT_EQ(scheduler.find(1), nullptr);
}

TEST(Scheduler, FinishFreesBlocksInAnyPhaseAndHappensOnce) {
  SchedulerConfig small = config();
  small.max_sequences = 2;
  Scheduler scheduler(small);
  for (SequenceId id = 1; id <= 3; ++id) scheduler.add(sequence(id, id == 2 ? 20 : 3));
  step(scheduler);
  EXPECT_TRUE(scheduler.finish(3)) << "waiting";
  EXPECT_TRUE(scheduler.finish(2)) << "in the middle of its prompt";
  EXPECT_EQ(scheduler.blocks().num_free(), 15);
  const SchedulerOutput output = scheduler.schedule();
  EXPECT_TRUE(scheduler.finish(1)) << "while the step runs";
  EXPECT_EQ(scheduler.blocks().num_free(), 16);
  EXPECT_THAT(scheduler.update(output, each_gets({50})), IsEmpty());
  EXPECT_FALSE(scheduler.finish(1));
  EXPECT_FALSE(scheduler.finish(77));
  EXPECT_TRUE(scheduler.schedule().empty());
}

TEST(Scheduler, ANewcomerUnderAFreedIdTakesNoTokenOfTheOldOne) {
  Scheduler scheduler(config());
  scheduler.add(sequence(1, 3));
  const SchedulerOutput output = scheduler.schedule();
  scheduler.finish(1);
  scheduler.add(sequence(1, 5));
  EXPECT_THAT(scheduler.update(output, each_gets({50})), IsEmpty());
  EXPECT_EQ(scheduler.find(1)->num_tokens(), 5);
}

TEST(Scheduler, AStepWithoutUpdateIsDecidedAgain) {
  Scheduler scheduler(config());
  scheduler.add(sequence(1, 12));
  const SchedulerOutput lost = scheduler.schedule();
  const SchedulerOutput again = scheduler.schedule();
  EXPECT_EQ(parts(lost), parts(again));
  EXPECT_EQ(lost.slots, again.slots);
  EXPECT_THROW(scheduler.update(lost, StepResult{}), Error);
  scheduler.update(again, StepResult{});
  EXPECT_THROW(scheduler.update(again, StepResult{}), Error) << "twice";
}

TEST(Scheduler, RefusesTheWrongNumberOfTokens) {
  Scheduler scheduler(config());
  scheduler.add(sequence(1, 2));
  const SchedulerOutput output = scheduler.schedule();
  EXPECT_THROW(scheduler.update(output, StepResult{}), Error);
  EXPECT_THROW(scheduler.update(output, each_gets({1, 1})), Error);
}

std::string message_of(Scheduler& scheduler, const SequenceParams& params) {
  try {
    scheduler.add(params);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.what();
  }
  return "accepted";
}

TEST(Scheduler, RefusesPromptsThatCannotBeAnswered) {
  Scheduler scheduler(config());
  EXPECT_THAT(message_of(scheduler, sequence(1, 0)), HasSubstr("no tokens"));
  EXPECT_THAT(message_of(scheduler, sequence(1, 64)),
              HasSubstr("the prompt has 64 tokens, the context holds 64"));
  SequenceParams none = sequence(1, 2);
  none.max_tokens = 0;
  EXPECT_THAT(message_of(scheduler, none), HasSubstr("max_tokens is 0"));
  EXPECT_FALSE(scheduler.has_work());
  EXPECT_EQ(message_of(scheduler, sequence(1, 63)), "accepted");

  SchedulerConfig small = config();
  small.num_blocks = 2;
  Scheduler narrow(small);
  EXPECT_THAT(message_of(narrow, sequence(1, 8)),
              HasSubstr("the prompt has 8 tokens, the KV cache holds 8"));
}

TEST(Scheduler, RefusesAnIdInUse) {
  Scheduler scheduler(config());
  scheduler.add(sequence(1, 2));
  EXPECT_THROW(scheduler.add(sequence(1, 2)), Error);
}

TEST(Scheduler, RefusesAConfigurationThatCannotWork) {
  struct Case {
    const char* field;
    void (*spoil)(SchedulerConfig&);
  };
  const Case cases[] = {
      {"max_tokens_per_step", [](SchedulerConfig& c) { c.max_tokens_per_step = 0; }},
      {"max_sequences", [](SchedulerConfig& c) { c.max_sequences = -1; }},
      {"max_context", [](SchedulerConfig& c) { c.max_context = 1; }},
      {"num_blocks", [](SchedulerConfig& c) { c.num_blocks = 0; }},
      {"block_size", [](SchedulerConfig& c) { c.block_size = 0; }},
  };
  for (const Case& c : cases) {
    SchedulerConfig spoiled = config();
    c.spoil(spoiled);
    try {
      Scheduler scheduler(spoiled);
      ADD_FAILURE() << c.field << " was accepted";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr(c.field));
    }
  }
}

}  // namespace
}  // namespace lanner
