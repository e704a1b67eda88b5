// SPDX-License-Identifier: Apache-2.0
#include "engine/draft_planner.h"

#include <algorithm>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "engine/acceptance_rate.h"

namespace lanner {
namespace {

using Proposals = std::vector<DraftPlanner::Proposal>;

// Steps without drafts, of so many sequences.
void note_plain(DraftPlanner& planner, int sequences, double seconds) {
  for (int i = 0; i < 3; ++i) {
    planner.note_step(
        {.sequences = sequences, .rows = sequences, .new_tokens = sequences, .seconds = seconds});
  }
}

DraftPlanner::Proposal proposal(double chance, bool by_model = false) {
  DraftPlanner::Proposal proposal{.most = 8, .by_model = by_model, .remaining = 1000};
  proposal.chances.fill(chance);
  return proposal;
}

Proposals alike(int count, double chance, bool by_model = false) {
  return Proposals(static_cast<size_t>(count), proposal(chance, by_model));
}

int largest(const std::vector<int>& counts) {
  return counts.empty() ? 0 : *std::ranges::max_element(counts);
}

TEST(AcceptanceRate, ForgetsAndLearnsNothingAfterAWrongToken) {
  AcceptanceRate rate(0.5);
  rate.learn(0, 0);
  EXPECT_DOUBLE_EQ(rate.rate(), 0.5);
  AcceptanceRate one(0.5);
  one.learn(1, 0);
  rate.learn(8, 0);  // the other seven were never looked at
  EXPECT_DOUBLE_EQ(rate.rate(), one.rate());
  for (int i = 0; i < 100; ++i) rate.learn(4, 4);
  EXPECT_GT(rate.rate(), 0.99);
  for (int i = 0; i < 100; ++i) rate.learn(4, 0);
  EXPECT_LT(rate.rate(), 0.01);
}

TEST(AcceptanceRate, ThePriorIsSoonGone) {
  AcceptanceRate rate(0.7);
  for (int i = 0; i < 4; ++i) rate.learn(1, 0);
  EXPECT_LT(rate.rate(), 0.4);
  for (int i = 0; i < 1000; ++i) rate.learn(1, 0);
  AcceptanceRate begun = rate.begin_again();
  EXPECT_DOUBLE_EQ(begun.rate(), rate.rate());
  begun.learn(1, 1);
  rate.learn(1, 1);
  EXPECT_GT(begun.rate(), rate.rate()) << "another sequence may be of another kind";
}

TEST(StepCosts, GoesByNeighboursAndNeverDown) {
  StepCosts costs;
  EXPECT_EQ(costs.of(5), 0.0);
  EXPECT_FALSE(costs.knows(1));
  const auto twice = [&](int rows, double seconds) {
    costs.note(rows, seconds);
    costs.note(rows, seconds);
  };
  twice(1, 32);
  EXPECT_TRUE(costs.knows(1));
  EXPECT_FALSE(costs.knows(2));
  EXPECT_DOUBLE_EQ(costs.of(1), 32);
  EXPECT_DOUBLE_EQ(costs.of(9), 40) << "unknown: a little more for each row";
  twice(9, 48);
  EXPECT_DOUBLE_EQ(costs.of(5), 40);
  twice(4, 10);
  EXPECT_DOUBLE_EQ(costs.of(4), 32) << "more rows never cost less";
}

TEST(StepCosts, OneSlowStepTellsNothingAndWhatIsOldIsForgotten) {
  StepCosts costs;
  for (int i = 0; i < 3; ++i) costs.note(1, 10);
  costs.note(9, 1000);  // the first of its size
  EXPECT_LT(costs.of(9), 15);
  costs.note(9, 12);
  EXPECT_DOUBLE_EQ(costs.of(9), 12);
  costs.note(9, 1000);
  EXPECT_LT(costs.of(9), 14) << "one step in which the machine did something else";
  for (int i = 0; i < 200; ++i) costs.note(9, 1000);
  EXPECT_GT(costs.of(9), 900);
  EXPECT_FALSE(costs.knows(1)) << "200 steps ago";
  for (int i = 0; i < 600; ++i) costs.note(1, 10);
  EXPECT_LT(costs.of(9), 15);
}

TEST(DraftPlanner, ProposesAsMuchAsPays) {
  struct Case {
    const char* name;
    double seconds_per_row;  // besides 1 for the step
    int sequences;
    double chance;
    int least;
    int most;
  };
  const Case cases[] = {
      {"rows are free and drafts right", 0.0, 1, 0.95, 8, 8},
      {"rows are free and drafts wrong", 0.0, 1, 0.0, 0, 0},
      {"a step is nothing but its rows", 10.0, 1, 0.9, 0, 0},
      {"a tenth of a step, often right", 0.1, 1, 0.9, 3, 8},
      {"a tenth of a step, rarely right", 0.1, 1, 0.05, 0, 0},
      {"a few sequences", 0.05, 4, 0.8, 2, 8},
      {"many sequences: the step is all rows", 0.05, 64, 0.8, 0, 1},
  };
  for (const Case& c : cases) {
    DraftPlanner planner;
    for (int n = 600; n >= 1; --n) note_plain(planner, n, 1 + c.seconds_per_row * n);
    for (int n = 80; n >= 1; --n) note_plain(planner, n, 1 + c.seconds_per_row * n);
    note_plain(planner, c.sequences, 1 + c.seconds_per_row * c.sequences);
    const int most = largest(planner.plan(alike(c.sequences, c.chance)));
    EXPECT_GE(most, c.least) << c.name;
    EXPECT_LE(most, c.most) << c.name;
  }
}

TEST(DraftPlanner, ProposesForThoseSequencesWhereItPays) {
  DraftPlanner planner;
  for (int n = 40; n >= 1; --n) note_plain(planner, n, 1 + 0.1 * n);
  Proposals proposals = alike(4, 0.05);
  proposals[2] = proposal(0.95);
  planner.note_step({.sequences = 4, .rows = 4, .new_tokens = 4, .seconds = 1.4});
  const std::vector<int> counts = planner.plan(proposals);
  EXPECT_EQ(counts[0], 0);
  EXPECT_GT(counts[2], 3);
  EXPECT_EQ(counts[3], 0);
}

TEST(DraftPlanner, ProposesNothingBeforeItKnowsWhatAStepWithoutDraftsCosts) {
  DraftPlanner planner;
  EXPECT_EQ(largest(planner.plan(alike(1, 1.0))), 0);
  note_plain(planner, 1, 1.0);
  EXPECT_EQ(largest(planner.plan(alike(1, 1.0))), 8);
  EXPECT_EQ(largest(planner.plan(alike(2, 1.0))), 0) << "another number of sequences";
  int steps = 0;
  while (steps < 1000 && largest(planner.plan(alike(1, 1.0))) > 0) {
    planner.note_step({.sequences = 1, .rows = 9, .new_tokens = 9, .seconds = 1.2});
    ++steps;
  }
  EXPECT_GT(steps, 50);
  EXPECT_LT(steps, 500) << "after so many it has to be measured again";
}

TEST(DraftPlanner, CountsThePassesOfADraftModel) {
  DraftPlanner planner;
  for (int n = 9; n >= 1; --n) note_plain(planner, n, 1.0);
  EXPECT_GT(largest(planner.plan(alike(1, 0.8, true))), 0) << "nothing is known of it";
  for (int i = 0; i < 3; ++i) planner.note_pass(1, 0.1);
  const int cheap = largest(planner.plan(alike(1, 0.8, true)));
  for (int i = 0; i < 300; ++i) planner.note_pass(1, 0.4);
  const int dear = largest(planner.plan(alike(1, 0.8, true)));
  for (int i = 0; i < 300; ++i) planner.note_pass(1, 0.9);
  EXPECT_GT(cheap, dear);
  EXPECT_GT(dear, 0);
  EXPECT_EQ(largest(planner.plan(alike(1, 0.8, true))), 0) << "as slow as the large model";
}

TEST(DraftPlanner, ADraftModelHasToCatchUpWhereThatCanPay) {
  DraftPlanner planner;
  for (int n = 9; n >= 1; --n) note_plain(planner, n, 1.0);
  for (int i = 0; i < 3; ++i) planner.note_pass(1, 0.1);
  planner.note_catch_up(500, 10.0);
  Proposals proposals = alike(1, 0.9, true);
  EXPECT_GT(largest(planner.plan(proposals)), 0);
  proposals[0].missing = 500;
  EXPECT_GT(largest(planner.plan(proposals)), 0) << "10 s for some hundred tokens";
  proposals[0].remaining = 10;
  EXPECT_EQ(largest(planner.plan(proposals)), 0) << "10 s for 10 tokens";
  proposals[0].remaining = 1000;
  proposals[0].missing = 50000;
  EXPECT_EQ(largest(planner.plan(proposals)), 0);
}

// An engine with a draft model whose tokens are right with a probability: what its steps take, over
// what they would take without drafts.
class Simulation {
 public:
  double run(int sequences, double probability) {
    double seconds = 0;
    int64_t tokens = 0;
    for (int i = 0; i < sequences; ++i) {
      AcceptanceRate own = planner_.may_try() ? AcceptanceRate(0.7) : all_.begin_again();
      for (int done = 0; done < 100;) {
        const int made = step(own, probability, seconds, /*begins=*/done == 0);
        done += made;
        tokens += made;
      }
    }
    return seconds / static_cast<double>(tokens);
  }

 private:
  int step(AcceptanceRate& own, double probability, double& total, bool begins) {
    Proposals proposals = {proposal(own.rate(), true)};
    if (begins) missing_ = 100;
    proposals[0].missing = missing_;
    proposals[0].remaining = 100;
    const int count = planner_.plan(proposals)[0];
    double draft_seconds = 0.25 * count;
    if (count > 0) {
      if (missing_ > 0) planner_.note_catch_up(missing_, 0.02 * missing_);
      draft_seconds += 0.02 * missing_;
      missing_ = 0;
    }
    for (int i = 0; i < count; ++i) planner_.note_pass(1, 0.25);
    int accepted = 0;
    while (accepted < count && uniform() < probability) ++accepted;
    own.learn(count, accepted);
    all_.learn(count, accepted);
    const double seconds = (1 + 0.05 * count) * (0.95 + 0.1 * uniform());
    planner_.note_step({.sequences = 1,
                        .rows = 1 + count,
                        .new_tokens = 1 + accepted,
                        .seconds = seconds,
                        .draft_seconds = draft_seconds});
    total += seconds + draft_seconds;
    return 1 + accepted;
  }
  double uniform() { return static_cast<double>(generator_()) * 0x1p-32; }

  std::mt19937 generator_{1};
  DraftPlanner planner_;
  AcceptanceRate all_{0.7, 0.04};
  int missing_ = 0;
};

TEST(DraftPlanner, WhatDoesNotPayCostsLittleAndWhatPaysIsFound) {
  for (const double probability : {0.0, 0.2, 0.35}) {
    Simulation simulation;
    EXPECT_LT(simulation.run(1, probability), 1.25) << "it has to find out";
    EXPECT_LT(simulation.run(100, probability), 1.03) << probability;
  }
  Simulation simulation;
  EXPECT_LT(simulation.run(20, 0.9), 0.75);
  EXPECT_LT(simulation.run(100, 0.1), 1.03);
  simulation.run(20, 0.9);  // it gets tried again
  EXPECT_LT(simulation.run(20, 0.9), 0.75);
}

TEST(DraftPlanner, NeverGoesBeyondWhatThereIs) {
  DraftPlanner planner;
  EXPECT_TRUE(planner.plan({}).empty());
  note_plain(planner, 3, 1.0);
  Proposals proposals = alike(3, 1.0);
  proposals[1].most = 0;
  proposals[2].most = 2;
  EXPECT_EQ(planner.plan(proposals), (std::vector<int>{8, 0, 2}));
}

}  // namespace
}  // namespace lanner
