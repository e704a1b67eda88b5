// SPDX-License-Identifier: Apache-2.0
#include "sampling/candidates.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "base/testing/random.h"

namespace lanner {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Around the size of a block, and large.
const std::vector<int64_t> kSizes = {1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 129, 1000, 20000};

// Half-integers, so that many are equal.
std::vector<float> with_ties(int64_t count, uint32_t seed) {
  std::vector<float> logits = random_normal(count, seed, 3.0f);
  for (float& logit : logits) logit = std::round(logit * 2) / 2;
  return logits;
}

std::vector<int32_t> sorted_ids(const std::vector<float>& logits) {
  std::vector<int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::ranges::stable_sort(ids, [&](int32_t a, int32_t b) {
    return logits[static_cast<size_t>(a)] > logits[static_cast<size_t>(b)];
  });
  return ids;
}

TEST(Candidates, AreInTheOrderOfAStableSort) {
  for (const int64_t size : kSizes) {
    const std::vector<float> logits = with_ties(size, 1);
    const std::vector<int32_t> expected = sorted_ids(logits);
    Candidates candidates;
    ASSERT_TRUE(candidates.reset(logits));
    ASSERT_EQ(candidates.size(), logits.size());
    EXPECT_EQ(candidates.best(), expected[0]);
    for (size_t i = 0; i < logits.size(); ++i) {
      ASSERT_EQ(candidates.nth(i).id, expected[i]) << "size " << size << ", place " << i;
      ASSERT_EQ(candidates.nth(i).logit, logits[static_cast<size_t>(expected[i])]);
    }
  }
}

TEST(Candidates, FindAnyPlaceWithoutThoseBeforeIt) {
  const std::vector<float> logits = with_ties(20000, 2);
  const std::vector<int32_t> expected = sorted_ids(logits);
  for (const size_t place : {0u, 1u, 63u, 64u, 300u, 313u, 5000u, 19999u}) {
    Candidates candidates;
    ASSERT_TRUE(candidates.reset(logits));
    EXPECT_EQ(candidates.nth(place).id, expected[place]);
  }
}

TEST(Candidates, TheBestIsTheFirstOfEquals) {
  std::vector<float> logits(300, 1.0f);
  Candidates candidates;
  ASSERT_TRUE(candidates.reset(logits));
  EXPECT_EQ(candidates.best(), 0);
  logits[0] = 0.5f;
  ASSERT_TRUE(candidates.reset(logits));
  EXPECT_EQ(candidates.best(), 1);
  logits[200] = logits[100] = 2.0f;
  ASSERT_TRUE(candidates.reset(logits));
  EXPECT_EQ(candidates.best(), 100);
  std::ranges::fill(logits, -kInfinity);
  logits[70] = 0.0f;
  logits[20] = -0.0f;
  ASSERT_TRUE(candidates.reset(logits));
  EXPECT_EQ(candidates.best(), 20) << "0 and -0 are equal";
  EXPECT_EQ(candidates.nth(0).id, 20);
}

TEST(Candidates, RefuseRowsThatAreNoNumbersWhereverTheyAre) {
  Candidates candidates;
  for (const int64_t size : {1, 5, 16, 64, 65, 150}) {
    for (int64_t position = 0; position < size; ++position) {
      for (const float bad : {kNan, -kNan, kInfinity}) {
        std::vector<float> logits = random_normal(size, 3);
        logits[static_cast<size_t>(position)] = bad;
        ASSERT_FALSE(candidates.reset(logits)) << bad << " at " << position << " of " << size;
      }
    }
    EXPECT_FALSE(candidates.reset(std::vector<float>(static_cast<size_t>(size), -kInfinity)));
  }
  EXPECT_FALSE(candidates.reset({}));
}

TEST(Candidates, WeightsAreExponentials) {
  const std::vector<float> logits = {3.0f, 1.0f};
  Candidates candidates;
  ASSERT_TRUE(candidates.reset(logits));
  for (float x = 3.0f; x > -76.0f; x -= 0.0137f) {
    const double expected = std::exp(static_cast<double>(x) - 3.0);
    ASSERT_NEAR(candidates.weight(x) / expected, 1.0, 4e-6) << x;  // mostly that of x - 3
  }
  EXPECT_EQ(candidates.weight(3.0f), 1.0f);
  EXPECT_EQ(candidates.weight(-100.0f), 0.0f);
  EXPECT_EQ(candidates.weight(-3e38f), 0.0f);
  EXPECT_EQ(candidates.weight(-kInfinity), 0.0f);
  candidates.set_temperature(2.0);
  EXPECT_NEAR(candidates.weight(1.0f), std::exp(-1.0), 1e-7);
  candidates.set_temperature(1e-300);
  EXPECT_EQ(candidates.weight(3.0f), 1.0f);
  EXPECT_EQ(candidates.weight(2.9999f), 0.0f);
}

TEST(Candidates, AddUpAllWeightsOrderedOrNot) {
  for (const int64_t size : kSizes) {
    const std::vector<float> logits = random_normal(size, 4, 2.0f);
    const float best = *std::ranges::max_element(logits);
    double expected = 0;
    for (const float logit : logits) expected += std::exp((double{logit} - double{best}) / 0.7);
    Candidates candidates;
    ASSERT_TRUE(candidates.reset(logits));
    candidates.set_temperature(0.7);
    EXPECT_NEAR(candidates.total_weight(), expected, 2e-6 * expected);
    candidates.nth(logits.size() - 1);
    EXPECT_NEAR(candidates.total_weight(), expected, 2e-6 * expected);
  }
}

// Narrowing down in any order and combination leaves a beginning of the order.
TEST(Candidates, StayABeginningOfTheOrderHoweverNarrowedDown) {
  std::mt19937 random(5);
  for (int round = 0; round < 400; ++round) {
    const int64_t row_size = kSizes[random() % kSizes.size()];
    const std::vector<float> logits = with_ties(row_size, static_cast<uint32_t>(round));
    const std::vector<int32_t> expected = sorted_ids(logits);
    Candidates candidates;
    ASSERT_TRUE(candidates.reset(logits));
    candidates.set_temperature(std::exp(0.05 * static_cast<double>(random() % 100) - 1.0));
    size_t size = logits.size();
    for (int i = 0; i < 4; ++i) {
      switch (random() % 4) {
        case 0: {
          const size_t count = 1 + random() % (size + 5);
          candidates.keep_first(count);
          size = std::min(size, count);
          break;
        }
        case 1: {
          const float threshold =
              candidates.best_logit() - 0.25f * static_cast<float>(random() % 40);
          candidates.keep_from(threshold);
          while (logits[static_cast<size_t>(expected[size - 1])] < threshold) --size;
          break;
        }
        case 2: {
          const double share = 0.001 * static_cast<double>(1 + random() % 999);
          const double wanted = share * candidates.total_weight();
          candidates.keep_weight(wanted);
          // The last one may lie on either side of a sum that is rounded.
          double sum = 0;
          size_t count = 0;
          while (count < candidates.size()) {
            sum += candidates.weight(logits[static_cast<size_t>(expected[count++])]);
          }
          const double last = candidates.weight(logits[static_cast<size_t>(expected[count - 1])]);
          ASSERT_GE(sum, wanted * (1 - 1e-5));
          ASSERT_LT(sum - last, wanted * (1 + 1e-5));
          ASSERT_LE(count, size);
          size = count;
          break;
        }
        default:
          candidates.nth(random() % size);
      }
      ASSERT_EQ(candidates.size(), size);
    }
    double total = 0;
    for (size_t i = 0; i < size; ++i) {
      total += candidates.weight(logits[static_cast<size_t>(expected[i])]);
    }
    ASSERT_NEAR(candidates.total_weight(), total, 1e-5 * total);
    for (int i = 0; i < 5; ++i) {
      const int32_t token = candidates.draw(0.2 * i + 0.1);
      const auto end = expected.begin() + static_cast<std::ptrdiff_t>(size);
      ASSERT_NE(std::find(expected.begin(), end, token), end) << "was ruled out";
    }
    for (size_t i = 0; i < size; ++i) ASSERT_EQ(candidates.nth(i).id, expected[i]);
  }
}

// Every token owns the part of [0, 1) that is its probability, in the order of ids or of logits.
TEST(Candidates, DrawByTheSharesOfTheWeight) {
  for (const bool ordered : {false, true}) {
    for (const int64_t size : {1, 5, 64, 65, 400}) {
      const std::vector<float> logits = random_normal(size, 6);
      Candidates candidates;
      ASSERT_TRUE(candidates.reset(logits));
      std::vector<int32_t> order(logits.size());
      std::iota(order.begin(), order.end(), 0);
      if (ordered) {
        candidates.nth(logits.size() - 1);
        order = sorted_ids(logits);
      }
      const double total = candidates.total_weight();
      double begin = 0;
      for (const int32_t id : order) {
        const double share = candidates.weight(logits[static_cast<size_t>(id)]) / total;
        EXPECT_EQ(candidates.draw(begin + 0.01 * share), id) << "size " << size;
        EXPECT_EQ(candidates.draw(begin + 0.99 * share), id) << "size " << size;
        begin += share;
      }
      EXPECT_EQ(candidates.draw(0.0), order.front());
      EXPECT_EQ(candidates.draw(1.0 - 0x1p-53), order.back());
    }
  }
}

TEST(Candidates, CutLongRunsOfEqualsById) {
  std::vector<float> logits(20000, 1.0f);
  logits[15000] = 1.5f;
  Candidates candidates;
  ASSERT_TRUE(candidates.reset(logits));
  const double equal = candidates.weight(1.0f);
  candidates.keep_weight(1.0 + 9999.5 * equal);  // the best, then ids 0 to 9999
  EXPECT_EQ(candidates.size(), 10001u);
  EXPECT_NEAR(candidates.total_weight(), 1.0 + 10000 * equal, 0.01);
  EXPECT_EQ(candidates.draw(0.99999), 15000) << "tokens are drawn in the order of ids";
  EXPECT_EQ(candidates.draw(0.9997), 9998);
  EXPECT_EQ(candidates.nth(10000).id, 9999);
}

TEST(Candidates, NeverDrawWhatHasNoWeight) {
  std::vector<float> logits(500, -kInfinity);
  logits[130] = -5.0f;
  for (const bool ordered : {false, true}) {
    Candidates candidates;
    ASSERT_TRUE(candidates.reset(logits));
    if (ordered) candidates.nth(400);
    for (const double uniform : {0.0, 0.5, 1.0 - 0x1p-53}) {
      EXPECT_EQ(candidates.draw(uniform), 130);
    }
  }
}

}  // namespace
}  // namespace lanner
