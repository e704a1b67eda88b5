// SPDX-License-Identifier: Apache-2.0
#include "sampling/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
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

// The first token of each row; counts stay as they are.
std::vector<int32_t> sample_each(Sampler& sampler, const Tensor& logits,
                                 std::vector<SamplingRow> rows, ThreadPool& threads) {
  std::vector<int32_t> first_rows(rows.size());
  std::iota(first_rows.begin(), first_rows.end(), 0);
  std::vector<TokenCounts> counts;
  counts.reserve(rows.size());
  for (SamplingRow& row : rows) {
    if (row.counts != nullptr) row.counts = &counts.emplace_back(*row.counts);
  }
  std::vector<int32_t> tokens;
  for (const SamplingResult& result : sampler.sample(logits, rows, first_rows, threads)) {
    tokens.push_back(result.tokens.front());
  }
  return tokens;
}

// One row on its own, its logits unchanged.
int32_t sample_alone(std::vector<float> logits, const SamplingRow& row) {
  ThreadPool threads(1);
  Sampler sampler;
  const Tensor tensor(logits.data(), DType::kF32, {1, std::ssize(logits)});
  return sample_each(sampler, tensor, {row}, threads)[0];
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
    ++counts[static_cast<size_t>(sample_each(sampler, tensor, {row}, threads)[0])];
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
      SamplingRow row{.params = &params[i], .seed = 100 + i};
      row.step = 3 * i;
      row.counts = &counts[i];
      rows.push_back(row);
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
    return sample_each(sampler, Tensor(padded.data(), DType::kF32, {kRows, kVocabSize}, stride),
                       rows, threads);
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
    EXPECT_THAT(
        sample_each(sampler, Tensor(logits.data(), DType::kF32, {5, kVocabSize}), rows, threads),
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

SamplingResult run(std::vector<float> logits, const SamplingRow& row) {
  ThreadPool threads(1);
  Sampler sampler;
  const auto num_rows = static_cast<int64_t>(row.drafts.size()) + 1;
  const Tensor tensor(logits.data(), DType::kF32, {num_rows, std::ssize(logits) / num_rows});
  const int32_t first_row = 0;
  return sampler.sample(tensor, {&row, 1}, {&first_row, 1}, threads)[0];
}

TEST(Sampler, KeepsTheTypicalTokens) {
  // Probabilities 0.5, 0.2, 0.2, 0.1: the expected surprise is 1.22, nearest to that of 0.2.
  const std::vector<float> logits = {std::log(0.5f), std::log(0.2f), std::log(0.2f),
                                     std::log(0.1f)};
  SamplingParams params = at_temperature(1.0);
  params.typical_p = 0.3;
  expect_distribution(logits, params, {0, 0.5, 0.5, 0}, true);
  params.typical_p = 0.5;  // 0.5 is 0.53 away, 0.1 is 1.08
  expect_distribution(logits, params, {5 / 9.0, 2 / 9.0, 2 / 9.0, 0}, true);
  params.typical_p = 0.95;
  expect_distribution(logits, params, {0.5, 0.2, 0.2, 0.1}, true);
  params.typical_p = 0.5;
  params.top_k = 2;  // of 5/7 and 2/7 the first is the nearer one, and enough
  expect_distribution(logits, params, {1, 0, 0, 0}, true);
}

TEST(Sampler, AddsTheBiasOfSingleTokens) {
  SamplingParams params;
  params.logit_bias = {{.token_id = 2, .bias = 1.5}, {.token_id = 0, .bias = -100}};
  EXPECT_EQ(sample_alone({3.0f, 1.0f, 0.0f}, params), 2);
  params.logit_bias = {{.token_id = 99, .bias = 100}};
  EXPECT_EQ(sample_alone({3.0f, 1.0f, 0.0f}, params), 0) << "outside the vocabulary";
}

TEST(Sampler, NeverFinishesABadWord) {
  const std::vector<float> logits = {0.0f, 3.0f, 2.0f, 1.0f};
  SamplingParams params;
  params.bad_word_ids = {{1}, {7, 8, 2}};
  SamplingRow row{.params = &params};
  const std::vector<int32_t> before = {5, 7, 8};
  row.tokens = before;
  EXPECT_EQ(run(logits, row).tokens[0], 3);
  row.tokens = std::span(before).first(2);
  EXPECT_EQ(run(logits, row).tokens[0], 2) << "7 and 8 have not both come";
  // Across a draft: after 5, 7 and the draft 8.
  const std::vector<int32_t> drafts = {8};
  row.drafts = drafts;
  std::vector<float> two(10, 0.0f);
  two[8] = 5.0f;
  two.insert(two.end(), {0.0f, 3.0f, 2.0f, 1.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f});
  EXPECT_THAT(run(two, row).tokens, ElementsAre(8, 3));
}

TEST(Sampler, DrawsNoEndTokenBeforeMinTokens) {
  SamplingParams params;
  params.min_tokens = 3;
  const std::vector<int32_t> ends = {1, 2};
  SamplingRow row{.params = &params};
  row.end_tokens = ends;
  for (const auto& [step, token] : {std::pair{0, 0}, std::pair{2, 0}, std::pair{3, 1}}) {
    row.step = static_cast<uint64_t>(step);
    EXPECT_EQ(run({1.0f, 3.0f, 2.0f}, row).tokens[0], token) << step;
  }
}

TEST(Sampler, DraftsChangeNothingButTheNumberOfSteps) {
  constexpr size_t kVocabSize = 40;
  const SamplingParams params = [] {
    SamplingParams p = at_temperature(1.0);
    p.presence_penalty = 1.5;
    return p;
  }();
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const std::vector<float> logits =
        random_normal(4 * kVocabSize, 50 + static_cast<uint32_t>(seed));
    // Step by step.
    std::vector<int32_t> expected;
    TokenCounts counts(std::vector<int32_t>{1});
    for (size_t i = 0; i < 4; ++i) {
      SamplingRow row{.params = &params, .seed = seed};
      row.step = i;
      row.counts = &counts;
      const auto begin = logits.begin() + static_cast<std::ptrdiff_t>(i * kVocabSize);
      expected.push_back(run({begin, begin + kVocabSize}, row).tokens[0]);
    }
    // All at once, with drafts that go wrong at some place.
    const size_t wrong = seed % 4;
    std::vector<int32_t> drafts(expected.begin(), expected.begin() + 3);
    if (wrong < 3) drafts[wrong] = (drafts[wrong] + 1) % static_cast<int>(kVocabSize);
    TokenCounts again(std::vector<int32_t>{1});
    SamplingRow row{.params = &params, .seed = seed};
    row.counts = &again;
    row.drafts = drafts;
    expected.resize(wrong + 1);
    EXPECT_EQ(run(logits, row).tokens, expected);
  }
}

TEST(Sampler, ScoresTokensByTheModelsOwnDistribution) {
  const std::vector<float> logits = {std::log(0.2f) + 3, std::log(0.5f) + 3, std::log(0.3f) + 3};
  SamplingParams params = at_temperature(0.1);
  params.top_k = 1;
  params.logprobs = 2;
  params.logit_bias = {{.token_id = 0, .bias = 50}};
  SamplingRow row{.params = &params};
  row.wants_logprobs = true;
  const SamplingResult result = run(logits, row);
  ASSERT_EQ(result.logprobs.size(), 1u);
  EXPECT_EQ(result.tokens[0], 0) << "biased";
  EXPECT_NEAR(result.logprobs[0].token.logprob, std::log(0.2), 1e-5);
  ASSERT_EQ(result.logprobs[0].top.size(), 2u);
  EXPECT_EQ(result.logprobs[0].top[0].id, 1);
  EXPECT_NEAR(result.logprobs[0].top[0].logprob, std::log(0.5), 1e-5);
  EXPECT_EQ(result.logprobs[0].top[1].id, 2);
}

TEST(Sampler, DrawsTheFirstTokensOfSeveralSequencesFromOneRow) {
  const std::vector<float> logits(1000, 0.0f);
  const SamplingParams params = at_temperature(1.0);
  SamplingRow row{.params = &params, .seed = 4};
  row.width = 5;
  const std::vector<int32_t> tokens = run(logits, row).tokens;
  ASSERT_EQ(tokens.size(), 5u);
  EXPECT_EQ(std::set<int32_t>(tokens.begin(), tokens.end()).size(), 5u);
  for (uint32_t i = 0; i < 5; ++i) {
    row.width = 1;
    row.stream = i;
    EXPECT_EQ(run(logits, row).tokens[0], tokens[i]);
  }
}

// Even tokens only; after a 2 there must come 4 and 6.
class EvenTokens final : public TokenConstraint {
 public:
  void prepare() override { ++num_prepared; }
  std::span<const uint32_t> allowed() override {
    if (broken) throw std::runtime_error("the grammar is too large");
    return bits_;
  }
  void accept(int32_t token) override { accepted.push_back(token); }
  std::vector<int32_t> forced() override {
    return accepted.back() == 2 ? std::vector<int32_t>{4, 6} : std::vector<int32_t>{};
  }
  std::unique_ptr<TokenConstraint> clone() const override {
    return std::make_unique<EvenTokens>(*this);
  }

  std::vector<int32_t> accepted;
  int num_prepared = 0;
  bool broken = false;

 private:
  std::vector<uint32_t> bits_ = {0x55555555, 0x55555555};
};

TEST(Sampler, KeepsToAConstraintAndAddsWhatItForces) {
  SamplingParams params;
  EvenTokens even;
  SamplingRow row{.params = &params};
  row.constraint = &even;
  std::vector<float> logits(70, 0.0f);
  logits[33] = 5.0f;
  logits[2] = 3.0f;
  logits[68] = 9.0f;  // beyond the bits
  EXPECT_THAT(run(logits, row).tokens, ElementsAre(2, 4, 6));
  EXPECT_THAT(even.accepted, ElementsAre(2, 4, 6));
  row.wants_logprobs = true;
  EXPECT_THAT(run(logits, row).tokens, ElementsAre(2)) << "each has a log-probability";
  even.broken = true;
  const SamplingResult failed = run(logits, row);
  EXPECT_THAT(failed.tokens, ElementsAre(kNoToken));
  EXPECT_EQ(failed.error, "the grammar is too large");
}

TEST(Sampler, RanksCandidatesForBeams) {
  const std::vector<float> logits = {std::log(0.2f), std::log(0.5f), std::log(0.3f)};
  SamplingParams params;
  params.bad_word_ids = {{1}};
  SamplingRow row{.params = &params};
  row.num_candidates = 3;
  const SamplingResult result = run(logits, row);
  ASSERT_EQ(result.candidates.size(), 2u);
  EXPECT_EQ(result.candidates[0].id, 2);
  EXPECT_NEAR(result.candidates[0].logprob, std::log(0.3), 1e-5) << "not normalised again, as HF";
  EXPECT_EQ(result.candidates[1].id, 0);
}

TEST(Sampler, RefusesWhatDoesNotMatch) {
  const SamplingParams params;
  std::vector<float> logits(12);
  ThreadPool threads(1);
  Sampler sampler;
  const std::vector<SamplingRow> rows(3, SamplingRow{.params = &params});
  EXPECT_THROW(sample_each(sampler, Tensor(logits.data(), DType::kF32, {2, 6}), rows, threads),
               Error);
  EXPECT_THROW(sample_each(sampler, Tensor(logits.data(), DType::kF32, {12}), rows, threads),
               Error);
  EXPECT_THROW(sample_each(sampler, Tensor(logits.data(), DType::kF16, {3, 4}), rows, threads),
               Error);
  EXPECT_THAT(sample_each(sampler, Tensor(logits.data(), DType::kF32, {3, 4}), rows, threads),
              Each(0));
  EXPECT_TRUE(
      sample_each(sampler, Tensor(logits.data(), DType::kF32, {0, 4}), {}, threads).empty());
  SamplingParams penalised;
  penalised.presence_penalty = 1;
  const SamplingRow without_counts{.params = &penalised};
  EXPECT_THROW(
      sample_each(sampler, Tensor(logits.data(), DType::kF32, {1, 12}), {without_counts}, threads),
      Error);
}

}  // namespace
}  // namespace lanner
