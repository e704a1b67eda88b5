// SPDX-License-Identifier: Apache-2.0
// Every logits processor against a naive reference that follows the definition, in double.
#include "sampling/logits_processors.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <set>
#include <vector>

#include <gmock/gmock.h>

#include "base/testing/random.h"
#include "base/testing/tolerance.h"

namespace lanner {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct History {
  std::vector<int32_t> prompt;
  std::vector<int32_t> output;

  TokenCounts counts() const {
    TokenCounts result(prompt);
    for (const int32_t id : output) result.add_output(id);
    return result;
  }
  int output_count(int32_t id) const { return static_cast<int>(std::ranges::count(output, id)); }
  bool has(int32_t id) const { return output_count(id) > 0 || std::ranges::count(prompt, id) > 0; }
};

History random_history(std::mt19937& random, int32_t vocab_size) {
  History history;
  history.prompt.resize(random() % 50);
  history.output.resize(random() % 50);
  for (auto* tokens : {&history.prompt, &history.output}) {
    for (int32_t& id : *tokens) id = static_cast<int32_t>(random() % vocab_size);
  }
  return history;
}

using Apply = void (*)(std::span<float>, const TokenCounts&, double);
using Reference = double (*)(double logit, const History&, int32_t id, double penalty);

void expect_penalty(Apply apply, Reference reference, const std::vector<double>& penalties) {
  std::mt19937 random(1);
  for (int round = 0; round < 60; ++round) {
    const auto vocab_size = static_cast<int32_t>(1 + random() % 100);
    const History history = random_history(random, vocab_size);
    const TokenCounts counts = history.counts();
    for (const double penalty : penalties) {
      std::vector<float> logits = random_normal(vocab_size, static_cast<uint32_t>(round));
      std::vector<float> expected;
      for (int32_t id = 0; id < vocab_size; ++id) {
        expected.push_back(
            static_cast<float>(reference(logits[static_cast<size_t>(id)], history, id, penalty)));
      }
      apply(logits, counts, penalty);
      ASSERT_THAT(logits, is_close_to(expected, tolerance::kElementwise)) << penalty;
    }
  }
}

TEST(RepetitionPenalty, DividesPositiveAndMultipliesNegativeLogitsOfPromptAndOutput) {
  expect_penalty(apply_repetition_penalty,
                 [](double logit, const History& history, int32_t id, double penalty) {
                   if (!history.has(id)) return logit;
                   return logit < 0 ? logit * penalty : logit / penalty;
                 },
                 {1.0, 1.3, 0.5, 100.0});
}

TEST(FrequencyPenalty, IsSubtractedOncePerOccurrenceInTheOutput) {
  expect_penalty(apply_frequency_penalty,
                 [](double logit, const History& history, int32_t id, double penalty) {
                   return logit - penalty * history.output_count(id);
                 },
                 {0.0, 0.7, -2.0, 2.0});
}

TEST(PresencePenalty, IsSubtractedOnceFromTokensOfTheOutput) {
  expect_penalty(apply_presence_penalty,
                 [](double logit, const History& history, int32_t id, double penalty) {
                   return history.output_count(id) > 0 ? logit - penalty : logit;
                 },
                 {0.0, 0.7, -2.0, 2.0});
}

TEST(Penalties, LeaveMaskedTokensMaskedAndIgnoreIdsOutsideTheRow) {
  TokenCounts counts(std::vector<int32_t>{0, 1, 2, -1, 1000});
  counts.add_output(0);
  counts.add_output(2000000000);
  std::vector<float> logits = {-kInfinity, 0.0f, 1.0f};
  apply_repetition_penalty(logits, counts, 2.0);
  apply_frequency_penalty(logits, counts, 1.0);
  apply_presence_penalty(logits, counts, 1.0);
  EXPECT_EQ(logits, (std::vector<float>{-kInfinity, 0.0f, 0.5f}));
}

TEST(TokenCounts, HoldEveryTokenOnce) {
  TokenCounts counts(std::vector<int32_t>{5, 7, 5});
  counts.add_output(7);
  counts.add_output(9);
  counts.add_output(7);
  std::map<int32_t, int32_t> found;
  for (const TokenCounts::Entry& entry : counts.entries()) found[entry.id] = entry.output_count;
  EXPECT_EQ(counts.entries().size(), 3u);
  EXPECT_EQ(found, (std::map<int32_t, int32_t>{{5, 0}, {7, 2}, {9, 1}}));
}

TEST(HasPenalties, KnowsEachOfThem) {
  EXPECT_FALSE(has_penalties({}));
  for (const auto field : {&SamplingParams::repetition_penalty, &SamplingParams::frequency_penalty,
                           &SamplingParams::presence_penalty}) {
    SamplingParams params;
    params.*field = 0.5;
    EXPECT_TRUE(has_penalties(params));
  }
}

// Probabilities by definition, and the ids from the most to the least likely.
struct Softmax {
  Softmax(const std::vector<float>& logits, double temperature)
      : probabilities(logits.size()), order(logits.size()) {
    const double best = *std::ranges::max_element(logits);
    double sum = 0;
    for (size_t i = 0; i < logits.size(); ++i) {
      probabilities[i] = std::exp((logits[i] - best) / temperature);
      sum += probabilities[i];
    }
    for (double& p : probabilities) p /= sum;
    std::iota(order.begin(), order.end(), 0);
    std::ranges::stable_sort(order, [&](int32_t a, int32_t b) {
      return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)];
    });
  }
  double operator[](int32_t id) const { return probabilities[static_cast<size_t>(id)]; }

  std::vector<double> probabilities;
  std::vector<int32_t> order;
};

std::vector<int32_t> ids_of(Candidates& candidates) {
  std::vector<int32_t> ids;
  for (size_t i = 0; i < candidates.size(); ++i) ids.push_back(candidates.nth(i).id);
  return ids;
}

// Peaked and flat rows, small and large.
struct Row {
  int64_t size;
  float deviation;
  double temperature;
};
const Row kRows[] = {{1, 1, 1},       {2, 1, 0.5},    {50, 3, 1},     {64, 0.1f, 1},
                     {65, 5, 2},      {3000, 2, 0.7}, {3000, 8, 0.7}, {30000, 3, 1},
                     {30000, 3, 100}, {30000, 10, 1}, {30000, 0, 1}};

TEST(Temperature, DividesTheLogits) {
  for (const Row& row : kRows) {
    const std::vector<float> logits = random_normal(row.size, 2, row.deviation);
    const Softmax softmax(logits, row.temperature);
    Candidates candidates;
    ASSERT_TRUE(candidates.reset(logits));
    apply_temperature(candidates, row.temperature);
    const double total = candidates.total_weight();
    for (int32_t id = 0; id < row.size; id += 7) {
      ASSERT_NEAR(candidates.weight(logits[static_cast<size_t>(id)]) / total, softmax[id],
                  2e-5 * softmax[id] + 1e-12);
    }
  }
}

TEST(TopK, KeepsTheKMostLikely) {
  for (const Row& row : kRows) {
    const std::vector<float> logits = random_normal(row.size, 3, row.deviation);
    const Softmax softmax(logits, row.temperature);
    for (const int k : {1, 2, 40, 64, 1000, 29999, 30000, std::numeric_limits<int>::max(), 0}) {
      Candidates candidates;
      ASSERT_TRUE(candidates.reset(logits));
      apply_top_k(candidates, k);
      std::vector<int32_t> expected = softmax.order;
      if (k > 0 && k < row.size) expected.resize(static_cast<size_t>(k));
      ASSERT_EQ(ids_of(candidates), expected) << "k = " << k << " of " << row.size;
    }
  }
}

TEST(TopP, KeepsTheFewestWithEnoughProbability) {
  for (const Row& row : kRows) {
    const std::vector<float> logits = random_normal(row.size, 4, row.deviation);
    const Softmax softmax(logits, row.temperature);
    for (const double p : {1e-300, 0.01, 0.3, 0.5, 0.9, 0.99, 0.99999, 1.0}) {
      Candidates candidates;
      ASSERT_TRUE(candidates.reset(logits));
      apply_temperature(candidates, row.temperature);
      apply_top_p(candidates, p);
      const std::vector<int32_t> ids = ids_of(candidates);
      ASSERT_FALSE(ids.empty());
      ASSERT_TRUE(std::equal(ids.begin(), ids.end(), softmax.order.begin()));
      double sum = 0;
      for (const int32_t id : ids) sum += softmax[id];
      constexpr double kRounding = 1e-5;
      EXPECT_GE(sum, p - kRounding) << "p = " << p << " of " << row.size;
      EXPECT_LT(sum - softmax[ids.back()], p + kRounding) << "p = " << p << " of " << row.size;
      if (p == 1.0) {
        EXPECT_EQ(ids.size(), logits.size());
      }
    }
  }
}

TEST(TopP, CountsOnlyWhatTopKHasLeft) {
  // 0.4, 0.3, 0.2, 0.1: of the first two, 0.4 is 57 % and so enough for 0.55 but not for 0.6.
  const std::vector<float> logits = {std::log(0.2f), std::log(0.4f), std::log(0.1f),
                                     std::log(0.3f)};
  for (const auto& [p, expected] :
       {std::pair{0.55, std::vector<int32_t>{1}}, {0.6, {1, 3}}, {0.99, {1, 3}}}) {
    Candidates candidates;
    ASSERT_TRUE(candidates.reset(logits));
    apply_top_k(candidates, 2);
    apply_top_p(candidates, p);
    EXPECT_EQ(ids_of(candidates), expected) << p;
  }
}

TEST(MinP, KeepsWhatIsLikelyEnoughNextToTheBest) {
  for (const Row& row : kRows) {
    const std::vector<float> logits = random_normal(row.size, 5, row.deviation);
    const Softmax softmax(logits, row.temperature);
    for (const double min_p : {0.0, 1e-300, 1e-6, 0.05, 0.5, 0.999, 1.0}) {
      for (const bool after_top_p : {false, true}) {
        Candidates candidates;
        ASSERT_TRUE(candidates.reset(logits));
        apply_temperature(candidates, row.temperature);
        if (after_top_p) apply_top_p(candidates, 0.95);
        const size_t size_before = candidates.size();
        apply_min_p(candidates, min_p);
        const double bound = min_p * softmax[softmax.order[0]];
        size_t expected = 0;
        bool is_close = false;
        while (expected < size_before && softmax[softmax.order[expected]] >= bound) ++expected;
        if (expected < logits.size()) {
          is_close = std::abs(softmax[softmax.order[expected]] / bound - 1) < 1e-5;
        }
        if (is_close) continue;  // rounding decides
        ASSERT_EQ(candidates.size(), expected) << "min_p = " << min_p << " of " << row.size;
        const std::vector<int32_t> ids = ids_of(candidates);
        ASSERT_TRUE(std::equal(ids.begin(), ids.end(), softmax.order.begin()));
      }
    }
  }
}

}  // namespace
}  // namespace lanner
