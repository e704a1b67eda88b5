// SPDX-License-Identifier: Apache-2.0
// Drafts must not change what is generated: neither the greedy tokens, nor the distribution.
#include <cmath>
#include <map>
#include <memory>
#include <random>

#include <gtest/gtest.h>

#include "engine/ngram_drafter.h"
#include "engine/testing/tiny_model.h"

namespace lanner {
namespace {

using Ids = std::vector<int32_t>;

Ids propose(NgramDrafter& drafter, const Ids& tokens) {
  const auto drafts = drafter.propose(tokens);
  return {drafts.begin(), drafts.end()};
}

TEST(NgramDrafter, ProposesWhatCameAfterTheLongestEndThatOccurredBefore) {
  NgramAcceptance all;
  NgramDrafter drafter(4, all);
  EXPECT_EQ(propose(drafter, {1, 2, 3, 4, 5, 6, 9, 2, 3}), (Ids{4, 5, 6, 9}));
  EXPECT_EQ(propose(drafter, {1, 2, 3, 4, 5, 6, 9, 2, 3, 8}), Ids{});
  // After (9, 2, 3) came 8, after (2, 3) lately too.
  EXPECT_EQ(propose(drafter, {1, 2, 3, 4, 5, 6, 9, 2, 3, 8, 7, 9, 2, 3}), (Ids{8, 7, 9, 2}));
}

TEST(NgramDrafter, GoesOnWithALoopBeyondTheEnd) {
  NgramAcceptance all;
  NgramDrafter drafter(6, all);
  EXPECT_EQ(propose(drafter, {5, 1, 2, 1, 2, 1, 2}), (Ids{1, 2, 1, 2, 1, 2}));
}

TEST(NgramDrafter, LearnsHowOftenItIsRightAlsoWhereNothingIsVerified) {
  NgramAcceptance all;
  const double prior = all.after(2).rate();
  NgramDrafter copying(4, all);
  Ids tokens;
  for (int i = 0; i < 60; ++i) tokens.push_back(i % 20);
  Ids seen(tokens.begin(), tokens.begin() + 20);
  for (size_t i = 20; i < tokens.size(); ++i) {
    propose(copying, seen);
    seen.push_back(tokens[i]);
  }
  ASSERT_EQ(propose(copying, seen).size(), 4u);
  EXPECT_GT(copying.chance(0), 0.9);
  EXPECT_GT(copying.chance(3), 0.9);
  EXPECT_GT(all.after(16).rate(), 0.9);
  // Every two tokens have occurred before, and something else followed.
  NgramDrafter wrong(4, all);
  seen = {1, 2};
  for (int i = 0; i < 30; ++i) {
    propose(wrong, seen);
    for (const int32_t token : {100 + i, 1, 2}) seen.push_back(token);
  }
  EXPECT_EQ(propose(wrong, seen).size(), 4u);
  EXPECT_LT(wrong.chance(0), 0.05);
  EXPECT_LT(all.after(2).rate(), prior);
  EXPECT_GT(all.after(16).rate(), 0.9) << "which tells nothing of long copies";
  NgramDrafter next(4, all);
  propose(next, {7, 8, 9, 7, 8});
  EXPECT_LT(next.chance(0), 0.1) << "another sequence begins with what is known";
}

class SpeculationTest : public testing::Test {
 protected:
  SpeculationTest() {
    LlmConfig off = tiny_config();
    off.ngram_speculation = false;
    plain_ = LLM::load(model_.path(), off);
    LlmConfig on = tiny_config();
    on.draft_tokens = 8;  // whatever it costs
    speculating_ = LLM::load(model_.path(), on);
  }

  // Repeats itself, so that there is something to propose.
  static Ids repeating_prompt(int seed) {
    Ids prompt = tiny_prompt(12, seed);
    const Ids once = prompt;
    for (int i = 0; i < 3; ++i) prompt.insert(prompt.end(), once.begin(), once.end());
    return prompt;
  }

  // Three tokens in any order, so that every two of them have occurred before.
  static Request few_words_request(int max_tokens, uint64_t seed) {
    Ids prompt;
    for (int i = 0; i < 40; ++i) prompt.push_back(10 + (i * i + i / 3) % 3);
    Request request = tiny_request(prompt, max_tokens);
    for (const int32_t id : {10, 11, 12}) {
      request.sampling.logit_bias.push_back({.token_id = id, .bias = 60});
    }
    request.sampling.temperature = 1.5;
    request.sampling.seed = seed;
    return request;
  }

  TinyModel model_;
  std::unique_ptr<LLM> plain_;
  std::unique_ptr<LLM> speculating_;
};

TEST_F(SpeculationTest, GreedyTokensStayTheSame) {
  for (int seed = 0; seed < 8; ++seed) {
    const Request request = tiny_request(repeating_prompt(seed), 120);
    EXPECT_EQ(speculating_->generate({request}).front().token_ids,
              plain_->generate({request}).front().token_ids);
  }
  EXPECT_GT(speculating_->stats().accepted_tokens, 0);
  EXPECT_GE(speculating_->stats().draft_tokens, speculating_->stats().accepted_tokens);
  EXPECT_EQ(plain_->stats().draft_tokens, 0);
}

TEST_F(SpeculationTest, SampledTokensStayTheSameWithPenaltiesOn) {
  for (uint64_t seed = 0; seed < 8; ++seed) {
    Request request = few_words_request(60, seed);
    request.sampling.repetition_penalty = 1.05;
    request.sampling.frequency_penalty = 0.1;
    request.sampling.logprobs = 1;
    const Completion expected = plain_->generate({request}).front();
    const Completion actual = speculating_->generate({request}).front();
    EXPECT_EQ(actual.token_ids, expected.token_ids);
    ASSERT_EQ(actual.logprobs.size(), actual.token_ids.size());
    for (size_t i = 0; i < actual.logprobs.size(); ++i) {
      EXPECT_NEAR(actual.logprobs[i].token.logprob, expected.logprobs[i].token.logprob, 1e-4);
    }
  }
  EXPECT_GT(speculating_->stats().accepted_tokens, 0);
}

// Pearson's test of the last two of six tokens over many seeds: drawn with drafts against drawn
// without, from other seeds.
TEST_F(SpeculationTest, TheDistributionStaysTheSame) {
  constexpr int kDraws = 800;
  using Pair = std::pair<int32_t, int32_t>;
  const auto draw = [](LLM& llm, uint64_t first_seed) {
    std::map<Pair, int> counts;
    for (uint64_t i = 0; i < kDraws; ++i) {  // one by one: drafts are for few sequences
      const Ids ids = llm.generate({few_words_request(6, first_seed + i)}).front().token_ids;
      ++counts[{ids[4], ids[5]}];
    }
    return counts;
  };
  const auto expected = draw(*plain_, 1);
  const auto actual = draw(*speculating_, 100000);
  EXPECT_GT(speculating_->stats().draft_tokens, kDraws) << "nothing was put to the test";
  EXPECT_GT(speculating_->stats().accepted_tokens, kDraws / 10);
  std::map<Pair, std::pair<double, double>> both;
  for (const auto& [pair, count] : expected) both[pair].first = count;
  for (const auto& [pair, count] : actual) both[pair].second = count;
  double chi_square = 0;
  int degrees = -1;
  for (const auto& [pair, counts] : both) {
    const double sum = counts.first + counts.second;
    const double difference = counts.first - counts.second;
    if (sum < 10) continue;
    chi_square += difference * difference / sum;
    ++degrees;
  }
  EXPECT_GE(degrees, 3);
  EXPECT_LT(chi_square, degrees + 3.1 * std::sqrt(2.0 * degrees) + 6);
}

}  // namespace
}  // namespace lanner
