// SPDX-License-Identifier: Apache-2.0
// Drafts that were drawn from another distribution must leave the one of the tokens as it is.
#include <algorithm>
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "sampling/sampler.h"

namespace lanner {
namespace {

constexpr int kVocab = 12;
constexpr int kDraws = 20000;

using Row = std::vector<float>;

Row logits_of(int kind) {
  Row row(kVocab);
  for (int i = 0; i < kVocab; ++i) {
    row[static_cast<size_t>(i)] = static_cast<float>(2.5 * std::sin(1.7 * i * (kind + 1) + kind));
  }
  return row;
}

std::vector<double> softmax(const Row& logits, double temperature) {
  std::vector<double> p(logits.size());
  double sum = 0;
  for (size_t i = 0; i < p.size(); ++i) sum += p[i] = std::exp(logits[i] / temperature);
  for (double& value : p) value /= sum;
  return p;
}

SamplingResult sample(std::vector<Row> rows, const SamplingRow& row) {
  static ThreadPool threads(1);
  Sampler sampler;
  std::vector<float> all;
  for (const Row& logits : rows) all.insert(all.end(), logits.begin(), logits.end());
  const Tensor tensor(all.data(), DType::kF32, {std::ssize(rows), kVocab});
  return sampler.sample(tensor, std::vector{row}, std::vector<int32_t>{0}, threads).front();
}

double chi_square(const std::vector<int>& counts, const std::vector<double>& p) {
  int total = 0;
  for (const int count : counts) total += count;
  double sum = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    const double expected = p[i] * total;
    if (expected > 0) sum += (counts[i] - expected) * (counts[i] - expected) / expected;
    if (expected > 0) continue;
    EXPECT_EQ(counts[i], 0) << "token " << i << " is impossible";
  }
  return sum;
}

// Of 11 degrees of freedom: exceeded once in a million times.
constexpr double kLimit = 50;

class DraftSampling : public testing::Test {
 protected:
  struct Counts {
    std::vector<int> first = std::vector<int>(kVocab);
    std::vector<int> after = std::vector<int>(kVocab);  // of accepted drafts
    int accepted = 0;
  };

  // A draft of logits q, verified against p; the row after it is `next`.
  Counts draw(const SamplingParams& params, const Row& p, const Row& q, const Row& next) {
    Counts counts;
    for (int i = 0; i < kDraws; ++i) {
      SamplingRow row{.params = &params, .seed = static_cast<uint64_t>(i) + 1, .step = 3};
      SamplingRow drafting = row;
      drafting.is_draft = true;
      drafting.wants_distribution = true;
      const SamplingResult draft = sample({q}, drafting);
      const std::vector<DraftDistribution> distributions = {draft.distribution};
      row.drafts = draft.tokens;
      row.distributions = distributions;
      const SamplingResult result = sample({p, next}, row);
      ++counts.first[static_cast<size_t>(result.tokens[0])];
      const bool accepted = result.tokens[0] == draft.tokens[0];
      EXPECT_EQ(result.tokens.size(), accepted ? 2u : 1u);
      if (!accepted) continue;
      ++counts.accepted;
      ++counts.after[static_cast<size_t>(result.tokens[1])];
    }
    return counts;
  }
};

TEST_F(DraftSampling, TokensHaveTheirOwnDistributionWhateverTheDraftsHave) {
  SamplingParams params;
  params.temperature = 0.9;
  const auto p = softmax(logits_of(0), 0.9);
  const auto next = softmax(logits_of(5), 0.9);
  for (int kind = 0; kind < 4; ++kind) {
    const auto q = softmax(logits_of(kind), 0.9);
    const Counts counts = draw(params, logits_of(0), logits_of(kind), logits_of(5));
    EXPECT_LT(chi_square(counts.first, p), kLimit) << kind;
    EXPECT_LT(chi_square(counts.after, next), kLimit) << kind;
    double overlap = 0;
    for (int i = 0; i < kVocab; ++i) overlap += std::min(p[size_t(i)], q[size_t(i)]);
    const double deviation = std::sqrt(overlap * (1 - overlap) / kDraws);
    EXPECT_NEAR(static_cast<double>(counts.accepted) / kDraws, overlap, 5 * deviation + 1e-9)
        << "as many are accepted as can be, " << kind;
    if (kind == 0) continue;
    std::vector<int> drafts(kVocab);
    for (int i = 0; i < kVocab; ++i) {
      drafts[static_cast<size_t>(i)] = static_cast<int>(std::lround(q[size_t(i)] * kDraws));
    }
    EXPECT_GT(chi_square(drafts, p), 10 * kLimit) << "the test would tell";
  }
}

TEST_F(DraftSampling, ADraftThatIsImpossibleIsNeverTaken) {
  SamplingParams params;
  params.temperature = 1.0;
  params.top_k = 3;
  Row p = logits_of(0);
  const Row q = logits_of(2);
  std::vector<double> expected = softmax(p, 1.0);
  std::vector<double> sorted = expected;
  std::ranges::sort(sorted, std::greater{});
  double kept = 0;
  for (double& value : expected) {
    if (value < sorted[2]) value = 0;
    kept += value;
  }
  for (double& value : expected) value /= kept;
  const Counts counts = draw(params, p, q, logits_of(1));
  EXPECT_LT(chi_square(counts.first, expected), kLimit);
}

TEST_F(DraftSampling, ADraftOfTheSameNumbersIsTheToken) {
  SamplingParams params;
  params.temperature = 1.2;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    SamplingRow row{.params = &params, .seed = seed, .step = seed % 7};
    SamplingRow drafting = row;
    drafting.is_draft = true;
    const SamplingResult draft = sample({logits_of(0)}, drafting);
    EXPECT_TRUE(draft.distribution.empty());
    EXPECT_EQ(draft.tokens, sample({logits_of(0)}, row).tokens);
  }
}

}  // namespace
}  // namespace lanner
