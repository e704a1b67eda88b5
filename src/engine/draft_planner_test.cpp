// SPDX-License-Identifier: Apache-2.0
#include "engine/draft_planner.h"

#include <vector>

#include <gtest/gtest.h>

namespace lanner {
namespace {

using Proposals = std::vector<DraftPlanner::Proposal>;

void note(DraftPlanner& planner, int rows, double seconds) {
  for (int i = 0; i < 3; ++i) planner.note_step(rows, seconds);
}

Proposals alike(int count, double acceptance, bool by_model = false) {
  return Proposals(static_cast<size_t>(count),
                   {.most = 8, .acceptance = acceptance, .by_model = by_model});
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

TEST(StepCosts, GoesByNeighboursAndNeverDown) {
  StepCosts costs;
  EXPECT_EQ(costs.of(5), 0.0);
  const auto twice = [&](int rows, double seconds) {
    costs.note(rows, seconds);
    costs.note(rows, seconds);
  };
  twice(1, 10);
  EXPECT_DOUBLE_EQ(costs.of(1), 10);
  EXPECT_DOUBLE_EQ(costs.of(9), 10) << "unknown: worth a try";
  EXPECT_DOUBLE_EQ(costs.of(256), 40) << "but nothing so large is free";
  twice(9, 26);
  EXPECT_DOUBLE_EQ(costs.of(5), 18);
  twice(4, 5);
  EXPECT_DOUBLE_EQ(costs.of(4), 10) << "more rows never cost less";
}

TEST(StepCosts, OneSlowStepTellsNothingAndWhatIsOldIsForgotten) {
  StepCosts costs;
  for (int i = 0; i < 3; ++i) costs.note(1, 10);
  costs.note(9, 1000);  // the first of its size
  EXPECT_DOUBLE_EQ(costs.of(9), 10);
  costs.note(9, 12);
  EXPECT_DOUBLE_EQ(costs.of(9), 12);
  for (int i = 0; i < 200; ++i) costs.note(9, 1000);
  EXPECT_GT(costs.of(9), 900);
  for (int i = 0; i < 600; ++i) costs.note(1, 10);
  EXPECT_DOUBLE_EQ(costs.of(9), 10);
}

TEST(DraftPlanner, ProposesAsMuchAsPays) {
  struct Case {
    const char* name;
    double seconds_per_row;  // besides 1 for the step
    int sequences;
    double acceptance;
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
    for (int rows = 1; rows <= 600; ++rows) note(planner, rows, 1 + c.seconds_per_row * rows);
    for (int rows = 1; rows <= 80; ++rows) note(planner, rows, 1 + c.seconds_per_row * rows);
    const int limit = planner.plan(alike(c.sequences, c.acceptance), 8);
    EXPECT_GE(limit, c.least) << c.name;
    EXPECT_LE(limit, c.most) << c.name;
  }
}

TEST(DraftPlanner, CountsThePassesOfADraftModel) {
  DraftPlanner planner;
  for (int rows = 1; rows <= 9; ++rows) note(planner, rows, 1.0);
  EXPECT_EQ(planner.plan(alike(1, 0.8, true), 8), 8) << "nothing is known of it";
  for (int i = 0; i < 3; ++i) planner.note_pass(1, 0.1);
  const int cheap = planner.plan(alike(1, 0.8, true), 8);
  for (int i = 0; i < 300; ++i) planner.note_pass(1, 0.4);
  const int dear = planner.plan(alike(1, 0.8, true), 8);
  for (int i = 0; i < 300; ++i) planner.note_pass(1, 0.9);
  EXPECT_GT(cheap, dear);
  EXPECT_GT(dear, 0);
  EXPECT_EQ(planner.plan(alike(1, 0.8, true), 8), 0) << "as slow as the large model";
}

TEST(DraftPlanner, NeverGoesBeyondWhatThereIs) {
  DraftPlanner planner;
  EXPECT_EQ(planner.plan({}, 8), 0);
  EXPECT_EQ(planner.plan(alike(3, 1.0), 0), 0);
  EXPECT_EQ(planner.plan(Proposals{{.most = 0, .acceptance = 1, .by_model = false}}, 8), 0);
  EXPECT_LE(planner.plan(alike(3, 1.0), 5), 5);
}

}  // namespace
}  // namespace lanner
