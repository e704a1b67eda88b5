// SPDX-License-Identifier: Apache-2.0
#include "sampling/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <random>
#include <set>
#include <vector>

#include <gmock/gmock.h>

#include "base/testing/random.h"
#include "lanner/error.h"

namespace lanner {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// One row on its own, its logits unchanged.
int32_t sample_alone(std::vector<float> logits, const SamplingRow& row) {
  ThreadPool threads(1);
  Sampler sampler;
  const Tensor tensor(logits.data(), DType::kF32, {1, std::ssize(logits)});
  return sampler.sample(tensor, {&row, 1}, threads)[0];
}

int32_t sample_alone(const std::vector<float>& logits, const SamplingParams& params,
                     uint64_t seed = 1, uint64_t step = 0) {
  return sample_alone(logits, SamplingRow{.params = &params, .seed = seed, .step = step});
}

SamplingParams at_temperature(double temperature) {
  SamplingParams params;
  params.temperature = temperature;
  return params;
}

TEST(Sampler, GreedyTakesTheHighestAndOfEqualsTheFirst) {
  EXPECT_EQ(sample_alone({0.0f, 3.0f, -1.0f, 3.0f}, SamplingParams{}), 1);
  EXPECT_EQ(sample_alone({-5.0f}, SamplingParams{}), 0);
  const std::vector<float> logits = random_normal(5000, 1);
  EXPECT_EQ(sample_alone(logits, SamplingParams{}),
            std::ranges::max_element(logits) - logits.begin());
}

TEST(Sampler, GreedyIgnoresSeedAndNarrowing) {
  SamplingParams params;
  params.top_k = 3;
  params.top_p = 0.1;
  params.min_p = 0.9;
  const std::vector<float> logits = random_normal(100, 2);
  for (uint64_t seed = 0; seed < 20; ++seed) {
    EXPECT_EQ(sample_alone(logits, params, seed), sample_alone(logits, SamplingParams{}));
  }
}

// Pearson's test with fixed seeds; the bounds are about the 0.1 % points.
void expect_distribution(const std::vector<float>& logits, const SamplingParams& params,
                         const std::vector<double>& probabilities, bool over_steps) {
  constexpr int kDraws = 30000;
  ThreadPool threads(1);
  Sampler sampler;
  std::vector<int> counts(logits.size());
  for (uint64_t i = 0; i < kDraws; ++i) {
    const SamplingRow row{
        .params = &params, .seed = over_steps ? 7 : i, .step = over_steps ? i : 0};
    std::vector<float> copy = logits;
    const Tensor tensor(copy.data(), DType::kF32, {1, std::ssize(copy)});
    ++counts[static_cast<size_t>(sampler.sample(tensor, {&row, 1}, threads)[0])];
  }
  double chi_square = 0;
  int degrees = -1;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (probabilities[i] == 0) {
      EXPECT_EQ(counts[i], 0) << "token " << i << " was ruled out";
      continue;
    }
    const double expected = probabilities[i] * kDraws;
    ASSERT_GE(expected, 5) << "too rare for the test";
    chi_square += (counts[i] - expected) * (counts[i] - expected) / expected;
    ++degrees;
  }
  EXPECT_LT(chi_square, degrees + 3.1 * std::sqrt(2.0 * degrees) + 6) << degrees << " degrees";
}

std::vector<double> softmax(const std::vector<float>& logits, double temperature) {
  std::vector<double> result;
  double sum = 0;
  for (const float logit : logits) {
    result.push_back(std::exp(logit / temperature));
    sum += result.back();
  }
  for (double& p : result) p /= sum;
  return result;
}

TEST(Sampler, DrawsByProbability) {
  const std::vector<float> few = {0.3f, -1.0f, 2.0f, 0.0f, 1.1f, -kInfinity, 2.0f, 0.5f};
  const std::vector<float> many = random_normal(200, 3, 0.7f);
  for (const bool over_steps : {true, false}) {
    for (const double temperature : {0.7, 1.0, 3.0}) {
      const SamplingParams params = at_temperature(temperature);
      expect_distribution(few, params, softmax(few, temperature), over_steps);
      if (temperature >= 1) {
        expect_distribution(many, params, softmax(many, temperature), over_steps);
      }
    }
  }
}

TEST(Sampler, DrawsByProbabilityAmongWhatTheProcessorsLeave) {
  // 0.4, 0.3, 0.2, 0.1 in another order.
  const std::vector<float> logits = {std::log(0.2f), std::log(0.4f), std::log(0.1f),
                                     std::log(0.3f)};
  SamplingParams params = at_temperature(1.0);
  params.top_k = 3;
  expect_distribution(logits, params, {2 / 9.0, 4 / 9.0, 0, 3 / 9.0}, true);
  params.top_p = 0.7;  // 4/9 + 3/9 is enough
  expect_distribution(logits, params, {0, 4 / 7.0, 0, 3 / 7.0}, true);
  params.top_k = 0;
  params.top_p = 1.0;
  params.min_p = 0.4;
  expect_distribution(logits, params, {2 / 9.0, 4 / 9.0, 0, 3 / 9.0}, true);
}

TEST(Sampler, AppliesPenaltiesBeforeTheTemperature) {
  const std::vector<float> logits = {2.0f, 1.9f, 0.0f, 0.0f};
  TokenCounts counts(std::vector<int32_t>{3});
  counts.add_output(0);
  counts.add_output(0);
  SamplingParams params;
  const auto greedy = [&] {
    return sample_alone(logits, SamplingRow{.params = &params, .counts = &counts});
  };
  EXPECT_EQ(greedy(), 0);
  params.repetition_penalty = 1.2;
  EXPECT_EQ(greedy(), 1);
  params = {};
  params.frequency_penalty = 0.06;  // twice
  EXPECT_EQ(greedy(), 1);
  params = {};
  params.presence_penalty = 0.06;
  EXPECT_EQ(greedy(), 0);
  params.presence_penalty = 0.11;
  EXPECT_EQ(greedy(), 1);

  // 2 / 1.25 - 0.1 - 2 * 0.25 = 1: only this order of the three gives an even draw.
  params = at_temperature(0.5);
  params.repetition_penalty = 1.25;
  params.presence_penalty = 0.1;
  params.frequency_penalty = 0.25;
  int first = 0;
  constexpr int kDraws = 4000;
  for (uint64_t step = 0; step < kDraws; ++step) {
    const int32_t token =
        sample_alone({2.0f, 1.0f, -kInfinity, -kInfinity},
                     SamplingRow{.params = &params, .seed = 3, .step = step, .counts = &counts});
    first += token == 0 ? 1 : 0;
  }
  EXPECT_NEAR(first, kDraws / 2, 3 * std::sqrt(kDraws) / 2);
}

// Rows of all kinds, each with its own parameters.
struct Batch {
  static constexpr int64_t kRows = 24;
  static constexpr int64_t kVocabSize = 1500;

  Batch() {
    std::mt19937 random(4);
    for (int64_t i = 0; i < kRows; ++i) {
      SamplingParams p = at_temperature(i % 5 == 0 ? 0.0 : 0.3 * static_cast<double>(i % 7 + 1));
      if (i % 2 == 0) p.top_k = static_cast<int>(random() % 100);
      if (i % 3 == 0) p.top_p = 0.8;
      if (i % 4 == 0) p.min_p = 0.02;
      if (i % 6 == 0) p.repetition_penalty = 1.3;
      params.push_back(p);
      TokenCounts c(std::vector<int32_t>{1, 2, 3});
      for (int j = 0; j < 30; ++j) c.add_output(static_cast<int32_t>(random() % kVocabSize));
      counts.push_back(c);
    }
    for (size_t i = 0; i < kRows; ++i) {
      rows.push_back({.params = &params[i], .seed = 100 + i, .step = 3 * i, .counts = &counts[i]});
    }
  }
  Batch(const Batch&) = delete;

  std::vector<int32_t> run(int num_threads, int64_t padding = 0) const {
    const int64_t stride = kVocabSize + padding;
    std::vector<float> padded(static_cast<size_t>(kRows * stride), kNan);
    for (int64_t i = 0; i < kRows; ++i) {
      std::copy_n(logits.begin() + i * kVocabSize, kVocabSize, padded.begin() + i * stride);
    }
    ThreadPool threads(num_threads);
    Sampler sampler;
    return sampler.sample(Tensor(padded.data(), DType::kF32, {kRows, kVocabSize}, stride), rows,
                          threads);
  }

  std::vector<float> logits = random_normal(kRows * kVocabSize, 5, 2.0f);
  std::vector<SamplingParams> params;
  std::vector<TokenCounts> counts;
  std::vector<SamplingRow> rows;
};

TEST(Sampler, ARowGivesTheSameTokenAloneAndInAnyBatch) {
  const Batch batch;
  const std::vector<int32_t> together = batch.run(1);
  for (int64_t i = 0; i < Batch::kRows; ++i) {
    const auto begin = batch.logits.begin() + i * Batch::kVocabSize;
    EXPECT_EQ(sample_alone(std::vector<float>(begin, begin + Batch::kVocabSize),
                           batch.rows[static_cast<size_t>(i)]),
              together[static_cast<size_t>(i)]);
  }
}

TEST(Sampler, TheNumberOfThreadsChangesNothing) {
  const Batch batch;
  const std::vector<int32_t> expected = batch.run(1);
  for (const int num_threads : {2, 3, 8}) EXPECT_EQ(batch.run(num_threads), expected);
}

TEST(Sampler, RowsMayBeFartherApartThanTheyAreLong) {
  const Batch batch;
  EXPECT_EQ(batch.run(2, /*padding=*/9), batch.run(2));
}

TEST(Sampler, SeedAndStepDecideTheToken) {
  const std::vector<float> logits(1000, 0.0f);
  const SamplingParams params = at_temperature(1.0);
  std::set<int32_t> by_seed;
  std::set<int32_t> by_step;
  for (uint64_t i = 0; i < 50; ++i) {
    by_seed.insert(sample_alone(logits, params, i, 0));
    by_step.insert(sample_alone(logits, params, 0, i));
    EXPECT_EQ(sample_alone(logits, params, i, 5), sample_alone(logits, params, i, 5));
  }
  EXPECT_GT(by_seed.size(), 40u);
  EXPECT_GT(by_step.size(), 40u);
}

TEST(Sampler, ABadRowHasNoTokenAndHarmsNoOther) {
  constexpr int64_t kVocabSize = 70;
  const std::vector<float> good = random_normal(kVocabSize, 6);
  for (const double temperature : {0.0, 1.0}) {
    const SamplingParams params = at_temperature(temperature);
    std::vector<float> logits;
    for (int row = 0; row < 5; ++row) logits.insert(logits.end(), good.begin(), good.end());
    logits[1 * kVocabSize + 66] = kNan;
    logits[2 * kVocabSize + 3] = kInfinity;
    std::fill_n(logits.begin() + 3 * kVocabSize, kVocabSize, -kInfinity);
    const std::vector<SamplingRow> rows(5, SamplingRow{.params = &params, .seed = 1});
    ThreadPool threads(2);
    Sampler sampler;
    const int32_t token = sample_alone(good, params);
    EXPECT_THAT(sampler.sample(Tensor(logits.data(), DType::kF32, {5, kVocabSize}), rows, threads),
                ElementsAre(token, kNoToken, kNoToken, kNoToken, token));
  }
}

TEST(Sampler, StandsExtremeParameters) {
  const std::vector<float> logits = random_normal(300, 7, 5.0f);
  const int32_t best = sample_alone(logits, SamplingParams{});
  const auto always_best = [&](const SamplingParams& params) {
    for (uint64_t seed = 0; seed < 50; ++seed) {
      if (sample_alone(logits, params, seed) != best) return false;
    }
    return true;
  };
  constexpr double kTiny = std::numeric_limits<double>::denorm_min();
  EXPECT_TRUE(always_best(at_temperature(kTiny)));
  EXPECT_TRUE(always_best(at_temperature(1e-6)));
  EXPECT_FALSE(always_best(at_temperature(100.0)));
  SamplingParams params = at_temperature(100.0);
  params.top_p = kTiny;
  EXPECT_TRUE(always_best(params));
  params.top_p = 1.0;
  params.min_p = 1.0;
  EXPECT_TRUE(always_best(params));
  params.min_p = 0.0;
  params.top_k = 1;
  EXPECT_TRUE(always_best(params));
  params.top_k = std::numeric_limits<int>::max();
  EXPECT_FALSE(always_best(params));

  std::vector<float> masked(300, -kInfinity);
  masked[123] = -1e30f;
  for (const double temperature : {0.0, kTiny, 1.0, 100.0}) {
    params = at_temperature(temperature);
    EXPECT_EQ(sample_alone(masked, params), 123);
    params.top_k = 20;
    params.top_p = 0.9999999;
    params.min_p = 0.5;
    EXPECT_EQ(sample_alone(masked, params), 123);
  }
  const float huge = std::numeric_limits<float>::max();
  EXPECT_EQ(sample_alone({-huge, huge, 0.0f}, at_temperature(1.0)), 1);
}

TEST(Sampler, APenaltyThatOverflowsIsAnErrorOfItsRow) {
  TokenCounts counts(std::vector<int32_t>{0});
  SamplingParams params = at_temperature(1.0);
  params.repetition_penalty = 1e-300;
  EXPECT_EQ(sample_alone({1.0f, 2.0f}, SamplingRow{.params = &params, .counts = &counts}),
            kNoToken);
}

TEST(Sampler, RefusesWhatDoesNotMatch) {
  const SamplingParams params;
  std::vector<float> logits(12);
  ThreadPool threads(1);
  Sampler sampler;
  const std::vector<SamplingRow> rows(3, SamplingRow{.params = &params});
  EXPECT_THROW(sampler.sample(Tensor(logits.data(), DType::kF32, {2, 6}), rows, threads), Error);
  EXPECT_THROW(sampler.sample(Tensor(logits.data(), DType::kF32, {12}), rows, threads), Error);
  EXPECT_THROW(sampler.sample(Tensor(logits.data(), DType::kF16, {3, 4}), rows, threads), Error);
  EXPECT_THAT(sampler.sample(Tensor(logits.data(), DType::kF32, {3, 4}), rows, threads), Each(0));
  EXPECT_TRUE(sampler.sample(Tensor(logits.data(), DType::kF32, {0, 4}), {}, threads).empty());
  SamplingParams penalised;
  penalised.presence_penalty = 1;
  const SamplingRow without_counts{.params = &penalised};
  EXPECT_THROW(
      sampler.sample(Tensor(logits.data(), DType::kF32, {1, 12}), {&without_counts, 1}, threads),
      Error);
}

}  // namespace
}  // namespace lanner
