// SPDX-License-Identifier: Apache-2.0
#include "kernels/rope/rope.h"

#include <cmath>

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/testing/random.h"
#include "base/testing/tolerance.h"
#include "kernels/rope/kernels.h"
#include "kernels/testing/matrix.h"

namespace lanner {
namespace {

constexpr RopeStyle kStyles[] = {RopeStyle::kHalves, RopeStyle::kPairs};

struct TestTable {
  std::vector<float> cos, sin;
  RopeTable view;

  TestTable(int64_t num_positions, int rotary_dim, RopeStyle style) {
    const int pairs = rotary_dim / 2;
    for (int64_t position = 0; position < num_positions; ++position) {
      for (int i = 0; i < pairs; ++i) {
        const double angle = static_cast<double>(position) * std::pow(10000.0, -double(i) / pairs);
        cos.push_back(static_cast<float>(std::cos(angle)));
        sin.push_back(static_cast<float>(std::sin(angle)));
      }
    }
    view = {.cos = cos.data(),
            .sin = sin.data(),
            .num_positions = num_positions,
            .rotary_dim = rotary_dim,
            .style = style};
  }
};

// The formula, in double, on one head.
void turn_reference(std::span<float> head, const TestTable& table, int64_t position) {
  const int pairs = table.view.rotary_dim / 2;
  for (int i = 0; i < pairs; ++i) {
    const bool halves = table.view.style == RopeStyle::kHalves;
    float& a = head[static_cast<size_t>(halves ? i : 2 * i)];
    float& b = head[static_cast<size_t>(halves ? i + pairs : 2 * i + 1)];
    const double cos = table.cos[static_cast<size_t>(position * pairs + i)];
    const double sin = table.sin[static_cast<size_t>(position * pairs + i)];
    const double old_a = a, old_b = b;
    a = static_cast<float>(old_a * cos - old_b * sin);
    b = static_cast<float>(old_b * cos + old_a * sin);
  }
}

class RopeKernelTest : public testing::TestWithParam<const RopeKernel*> {
 protected:
  void SetUp() override {
    if (!cpu_isa().has(GetParam()->needs)) {
      GTEST_SKIP() << "this CPU lacks " << GetParam()->needs.to_string();
    }
  }
};

TEST_P(RopeKernelTest, EqualsTheFormulaAndWritesNothingElse) {
  for (RopeStyle style : kStyles) {
    for (int rotary_dim : {2, 4, 6, 14, 16, 18, 30, 32, 34, 62, 64, 66, 80, 96, 128, 256}) {
      SCOPED_TRACE(testing::Message() << "style " << int(style) << " rotary_dim " << rotary_dim);
      const TestTable table(4, rotary_dim, style);
      std::vector<float> expected = random_normal(rotary_dim + 5, /*seed=*/1), actual = expected;
      turn_reference(expected, table, 3);
      const int pairs = rotary_dim / 2;
      GetParam()->head[static_cast<size_t>(style)](actual.data(), table.cos.data() + 3 * pairs,
                                                   table.sin.data() + 3 * pairs, pairs);
      EXPECT_THAT(actual, is_close_to(expected, tolerance::kElementwise));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(AllKernels, RopeKernelTest, testing::ValuesIn(rope_kernels()),
                         [](const auto& test) { return std::string(test.param->name); });

TEST(Rope, TurnsEveryHeadOfEveryTokenByItsPosition) {
  for (RopeStyle style : kStyles) {
    for (int rotary_dim : {64, 20}) {  // whole and part of a head
      constexpr int kTokens = 41, kHeads = 9, kHeadDim = 64;
      const TestTable table(100, rotary_dim, style);
      std::vector<int32_t> positions;
      for (int t = 0; t < kTokens; ++t) positions.push_back(t * 37 % 100);
      for (int num_threads = 1; num_threads <= 4; ++num_threads) {
        SCOPED_TRACE(testing::Message() << int(style) << " " << rotary_dim << " " << num_threads);
        ThreadPool threads(num_threads);
        TestMatrix x = TestMatrix::random(kTokens, kHeads * kHeadDim, /*seed=*/2, /*gap=*/17);
        TestMatrix expected = x;
        for (int t = 0; t < kTokens; ++t) {
          for (size_t head = 0; head < kHeads; ++head) {
            turn_reference(expected.row(t).subspan(head * kHeadDim, kHeadDim), table,
                           positions[static_cast<size_t>(t)]);
          }
        }
        rope(x.tensor(), kHeadDim, positions, table.view, threads);
        EXPECT_THAT(x.values(), is_close_to(expected.values(), tolerance::kElementwise));
        EXPECT_TRUE(x.gaps_are_untouched());
      }
    }
  }
}

// The point of the method: a dot product of q and k sees only the distance of their positions.
TEST(Rope, DotProductsDependOnDistanceOnly) {
  ThreadPool threads(1);
  for (RopeStyle style : kStyles) {
    const TestTable table(200, 32, style);
    const auto dot = [&](int32_t q_position, int32_t k_position) {
      TestMatrix qk = TestMatrix::random(2, 32, /*seed=*/3);
      const int32_t positions[] = {q_position, k_position};
      rope(qk.tensor(), 32, positions, table.view, threads);
      double sum = 0;
      for (size_t i = 0; i < 32; ++i) sum += double(qk.row(0)[i]) * qk.row(1)[i];
      return sum;
    };
    EXPECT_NEAR(dot(7, 3), dot(177, 173), 1e-4);
    EXPECT_GT(std::abs(dot(7, 3) - dot(7, 4)), 1e-3);
  }
}

TEST(Rope, RefusesWhatDoesNotMatch) {
  ThreadPool threads(1);
  TestMatrix x(2, 16);
  const TestTable table(10, 8, RopeStyle::kHalves);
  const std::vector<int32_t> good = {0, 9}, late = {0, 10}, negative = {-1, 0}, few = {0};
  EXPECT_NO_THROW(rope(x.tensor(), 8, good, table.view, threads));
  EXPECT_THROW(rope(x.tensor(), 8, late, table.view, threads), Error);
  EXPECT_THROW(rope(x.tensor(), 8, negative, table.view, threads), Error);
  EXPECT_THROW(rope(x.tensor(), 8, few, table.view, threads), Error);
  EXPECT_THROW(rope(x.tensor(), 5, good, table.view, threads), Error);
  EXPECT_THROW(rope(x.tensor(), 4, good, table.view, threads), Error);  // rotary_dim > head_dim
  RopeTable odd = table.view;
  odd.rotary_dim = 7;
  EXPECT_THROW(rope(x.tensor(), 8, good, odd, threads), Error);
}

TEST(SelectRope, TakesTheBestTheCpuHas) {
  EXPECT_STREQ(select_rope(Isa{}).name, "scalar");
  EXPECT_STREQ(select_rope(Isa{Isa::kAvx2}).name, "avx2");
  EXPECT_STREQ(select_rope(Isa{Isa::kAvx2, Isa::kAvx512}).name, "avx512");
}

TEST(Rope, TurnsAPartInTheMiddleOfAHead) {
  constexpr int kHeadDim = 24, kOffset = 6;
  TestTable table(/*num_positions=*/8, /*rotary_dim=*/16, RopeStyle::kHalves);
  table.view.offset = kOffset;
  TestMatrix x = TestMatrix::random(2, 3 * kHeadDim, /*seed=*/9);
  TestMatrix expected = x;
  const std::vector<int32_t> positions = {7, 2};
  for (int64_t t = 0; t < 2; ++t) {
    for (size_t head = 0; head < 3; ++head) {
      turn_reference(expected.row(t).subspan(head * kHeadDim + kOffset, 16), table,
                     positions[static_cast<size_t>(t)]);
    }
  }
  ThreadPool threads(1);
  rope(x.tensor(), kHeadDim, positions, table.view, threads);
  EXPECT_THAT(x.values(), is_close_to(expected.values(), tolerance::kReduction));
  table.view.offset = kHeadDim - 15;
  EXPECT_THROW(rope(x.tensor(), kHeadDim, positions, table.view, threads), Error);
}

}  // namespace
}  // namespace lanner
