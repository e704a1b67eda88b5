// SPDX-License-Identifier: Apache-2.0
// Routing, sorting and summing against double precision and the definitions.
#include "kernels/moe/moe.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/testing/random.h"
#include "kernels/testing/matrix.h"

namespace lanner {
namespace {

struct Choice {
  int expert;
  double weight;
};

std::vector<double> softmax(const std::vector<double>& x) {
  const double largest = *std::ranges::max_element(x);
  std::vector<double> y;
  double sum = 0;
  for (const double value : x) {
    y.push_back(std::exp(value - largest));
    sum += y.back();
  }
  for (double& value : y) value /= sum;
  return y;
}

std::vector<int> by_size(const std::vector<double>& x) {
  std::vector<int> order(x.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(
      order, [&](int a, int b) { return x[static_cast<size_t>(a)] > x[static_cast<size_t>(b)]; });
  return order;
}

// Written down from the papers, without regard for speed.
std::vector<Choice> expected_route(const std::vector<double>& logits, const RouterParams& p) {
  std::vector<double> scores = logits;
  if (p.score == RouterScore::kSoftmax) scores = softmax(logits);
  if (p.score == RouterScore::kSigmoid) {
    for (double& score : scores) score = 1 / (1 + std::exp(-score));
  }
  std::vector<double> choice = scores;
  for (size_t i = 0; p.correction_bias != nullptr && i < choice.size(); ++i) {
    choice[i] += p.correction_bias[i];
  }
  const size_t group_size = choice.size() / static_cast<size_t>(p.num_groups);
  std::vector<double> worth;
  for (int g = 0; g < p.num_groups; ++g) {
    std::vector<double> group(choice.begin() + g * static_cast<int64_t>(group_size),
                              choice.begin() + (g + 1) * static_cast<int64_t>(group_size));
    std::ranges::sort(group, std::greater<>());
    worth.push_back(p.group_score == GroupScore::kBest ? group[0] : group[0] + group[1]);
  }
  std::vector<int> groups = by_size(worth);
  groups.resize(static_cast<size_t>(p.top_groups));
  std::vector<Choice> chosen;
  for (const int expert : by_size(choice)) {
    const int group = expert / static_cast<int>(group_size);
    if (std::ranges::find(groups, group) == groups.end()) continue;
    if (static_cast<int>(chosen.size()) < p.top_k) {
      chosen.push_back({expert, scores[static_cast<size_t>(expert)]});
    }
  }
  if (p.score == RouterScore::kSoftmaxOfChosen) {
    std::vector<double> weights;
    for (const Choice& c : chosen) weights.push_back(c.weight);
    weights = softmax(weights);
    for (size_t j = 0; j < chosen.size(); ++j) chosen[j].weight = weights[j];
  }
  double sum = 0;
  for (const Choice& c : chosen) sum += c.weight;
  for (Choice& c : chosen) c.weight *= p.scale / (p.normalize ? sum : 1);
  return chosen;
}

void expect_route(const RouterParams& params, int tokens) {
  ThreadPool threads(3);
  TestMatrix logits = TestMatrix::random(tokens, params.num_experts, 11);
  std::vector<int32_t> experts(static_cast<size_t>(tokens * params.top_k));
  std::vector<float> weights(experts.size());
  route(logits.tensor(), params, experts, weights, threads);
  for (int t = 0; t < tokens; ++t) {
    const auto row = logits.row(t);
    const auto expected = expected_route({row.begin(), row.end()}, params);
    for (int j = 0; j < params.top_k; ++j) {
      const auto at = static_cast<size_t>(t * params.top_k + j);
      ASSERT_EQ(experts[at], expected[static_cast<size_t>(j)].expert) << t << ", " << j;
      ASSERT_NEAR(weights[at], expected[static_cast<size_t>(j)].weight,
                  1e-6 * std::max(1.0f, params.scale));
    }
  }
}

TEST(Route, EqualsTheDefinitions) {
  const std::vector<float> bias = random_normal(64, 5, 0.3f);
  for (int tokens : {1, 40}) {
    for (const RouterScore score :
         {RouterScore::kSoftmax, RouterScore::kSigmoid, RouterScore::kSoftmaxOfChosen}) {
      for (const bool normalize : {false, true}) {
        RouterParams params{.num_experts = 8, .top_k = 3, .score = score, .normalize = normalize};
        expect_route(params, tokens);
        params.top_k = 8;
        expect_route(params, tokens);
        params = {.num_experts = 1, .top_k = 1, .score = score, .normalize = normalize};
        expect_route(params, tokens);
        params = {.num_experts = 64, .top_k = 6, .score = score, .normalize = normalize};
        params.scale = 2.5f;
        params.num_groups = 8;
        params.top_groups = 3;
        expect_route(params, tokens);
        params.group_score = GroupScore::kSumOfTwo;
        params.correction_bias = bias.data();
        expect_route(params, tokens);
      }
    }
  }
}

TEST(Route, OfEqualExpertsTheFirstIsChosen) {
  ThreadPool threads(1);
  std::vector<float> logits(6, 0.5f);
  std::vector<int32_t> experts(2);
  std::vector<float> weights(2);
  route(Tensor(logits.data(), DType::kF32, Shape{1, 6}), {.num_experts = 6, .top_k = 2}, experts,
        weights, threads);
  EXPECT_EQ(experts, (std::vector<int32_t>{0, 1}));
  EXPECT_FLOAT_EQ(weights[0], 1.0f / 6);
}

TEST(Route, NaNStillChoosesDifferentExperts) {
  ThreadPool threads(1);
  std::vector<float> logits(8, std::numeric_limits<float>::quiet_NaN());
  for (const int groups : {1, 4}) {
    std::vector<int32_t> experts(4);
    std::vector<float> weights(4);
    route(Tensor(logits.data(), DType::kF32, Shape{1, 8}),
          {.num_experts = 8, .top_k = 4, .num_groups = groups, .top_groups = (groups + 1) / 2},
          experts, weights, threads);
    EXPECT_EQ(std::set<int32_t>(experts.begin(), experts.end()).size(), 4);
    EXPECT_TRUE(std::isnan(weights[0]));
  }
}

TEST(Route, ParametersThatDoNotFitAreRefused) {
  ThreadPool threads(1);
  std::vector<float> logits(8, 0.0f);
  std::vector<int32_t> experts(3);
  std::vector<float> weights(3);
  const auto run = [&](const RouterParams& params) {
    route(Tensor(logits.data(), DType::kF32, Shape{1, 8}), params, experts, weights, threads);
  };
  run({.num_experts = 8, .top_k = 3});
  EXPECT_THROW(run({.num_experts = 7, .top_k = 3}), Error);
  EXPECT_THROW(run({.num_experts = 8, .top_k = 9}), Error);
  EXPECT_THROW(run({.num_experts = 8, .top_k = 2}), Error);
  EXPECT_THROW(run({.num_experts = 8, .top_k = 3, .num_groups = 3}), Error);
  EXPECT_THROW(run({.num_experts = 8, .top_k = 3, .num_groups = 4, .top_groups = 1}), Error);
}

TEST(SortByExpert, PairsKeepTheirTokensAndLieExpertByExpert) {
  const std::vector<int32_t> experts = {3, 0, 3, 1, 0, 3};  // three tokens, two experts each
  const ExpertOrder order = sort_by_expert(experts, 2, 5);
  EXPECT_EQ(order.row_begin, (std::vector<int32_t>{0, 2, 3, 3, 6, 6}));
  EXPECT_EQ(order.tokens, (std::vector<int32_t>{0, 2, 1, 0, 1, 2}));
  EXPECT_EQ(order.sorted_rows, (std::vector<int32_t>{3, 0, 4, 2, 1, 5}));
  TestMatrix x(3, 4);
  TestMatrix y(6, 8);
  const std::vector<GemmGroupItem> items =
      order.items(x.tensor(), /*of_tokens=*/true, 2, y.tensor());
  ASSERT_EQ(items.size(), 3);
  EXPECT_EQ(items[2].part_begin, 6);
  EXPECT_EQ(items[2].part_end, 8);
  EXPECT_EQ(items[2].x.num_rows(), 3);
  EXPECT_TRUE(std::ranges::equal(items[2].x_rows, std::vector<int32_t>{0, 1, 2}));
  EXPECT_EQ(items[2].y.raw(), y.tensor().raw_row(3));
  const std::vector<GemmGroupItem> down =
      order.items(y.tensor(), /*of_tokens=*/false, 1, y.tensor());
  EXPECT_EQ(down[1].part_begin, 1);
  EXPECT_EQ(down[1].x.raw(), y.tensor().raw_row(2));
  EXPECT_TRUE(down[1].x_rows.empty());
}

TEST(CombineExperts, AddsTheWeightedRowsOfEachToken) {
  ThreadPool threads(3);
  for (const int64_t size : {1, 7, 513, 1500}) {
    constexpr int kTokens = 9, kTopK = 3;
    std::vector<int32_t> experts;
    for (int i = 0; i < kTokens * kTopK; ++i) experts.push_back(i * 5 % 4);
    const ExpertOrder order = sort_by_expert(experts, kTopK, 4);
    const std::vector<float> weights = random_normal(kTokens * kTopK, 1);
    TestMatrix y = TestMatrix::random(kTokens * kTopK, size, 2);
    TestMatrix hidden = TestMatrix::random(kTokens, size, 3);
    const std::vector<float> before = hidden.values();
    combine_experts(y.tensor(), order, weights, 0.5f, hidden.tensor(), threads);
    EXPECT_TRUE(hidden.gaps_are_untouched());
    for (int t = 0; t < kTokens; ++t) {
      for (int64_t c = 0; c < size; ++c) {
        double expected = before[static_cast<size_t>(t * size + c)];
        for (int j = 0; j < kTopK; ++j) {
          const auto pair = static_cast<size_t>(t * kTopK + j);
          expected += 0.5 * weights[pair] * y.row(order.sorted_rows[pair])[static_cast<size_t>(c)];
        }
        ASSERT_NEAR(hidden.row(t)[static_cast<size_t>(c)], expected, 1e-5);
      }
    }
  }
}

TEST(ClampedGatedActivation, EqualsTheFormula) {
  ThreadPool threads(2);
  for (const int64_t size : {1, 15, 64, 1030}) {
    TestMatrix gate(5, size);
    TestMatrix up(5, size);
    gate.set(random_normal(5 * size, 1, 6.0f));
    up.set(random_normal(5 * size, 2, 6.0f));
    const std::vector<float> g = gate.values(), u = up.values();
    clamped_gated_activation(gate.tensor(), up.tensor(), 7.0f, gate.tensor(), threads);
    EXPECT_TRUE(gate.gaps_are_untouched() && up.gaps_are_untouched());
    const std::vector<float> actual = gate.values();
    for (size_t i = 0; i < g.size(); ++i) {
      const double x = std::min(g[i], 7.0f);
      const double expected =
          (std::clamp(u[i], -7.0f, 7.0f) + 1.0) * x / (1 + std::exp(-1.702 * x));
      ASSERT_NEAR(actual[i], expected, 1e-5 * std::max(1.0, std::abs(expected))) << g[i];
    }
  }
}

}  // namespace
}  // namespace lanner
