// SPDX-License-Identifier: Apache-2.0
#include "kernels/softmax/softmax.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/testing/random.h"
#include "base/testing/tolerance.h"
#include "kernels/softmax/kernels.h"
#include "kernels/testing/matrix.h"

namespace lanner {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// In double, by the formula.
std::vector<float> reference(const std::vector<float>& x) {
  double max = -kInfinity, sum = 0;
  for (float value : x) max = std::max<double>(max, value);
  for (float value : x) sum += std::exp(value - max);
  std::vector<float> y;
  for (float value : x) y.push_back(static_cast<float>(std::exp(value - max) / sum));
  return y;
}

class SoftmaxKernelTest : public testing::TestWithParam<const SoftmaxKernel*> {
 protected:
  void SetUp() override {
    if (!cpu_isa().has(GetParam()->needs)) {
      GTEST_SKIP() << "this CPU lacks " << GetParam()->needs.to_string();
    }
  }
  std::vector<float> run(const std::vector<float>& x) {
    std::vector<float> y(x.size());
    GetParam()->row(x.data(), static_cast<int>(x.size()), y.data());
    return y;
  }
};

TEST_P(SoftmaxKernelTest, EqualsTheFormulaInAndOutOfPlace) {
  for (int size : {1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 1000, 32003}) {
    SCOPED_TRACE(size);
    const std::vector<float> x = random_normal(size, /*seed=*/1, /*deviation=*/4.0f);
    std::vector<float> in_place = x;
    GetParam()->row(in_place.data(), size, in_place.data());
    EXPECT_THAT(run(x), is_close_to(reference(x), tolerance::kTranscendental));
    EXPECT_EQ(in_place, run(x));
  }
}

TEST_P(SoftmaxKernelTest, MinusInfinityMasksAnElementOut) {
  for (int size : {2, 9, 17, 40}) {
    std::vector<float> x = random_normal(size, /*seed=*/2);
    for (size_t i = 0; i < x.size(); i += 2) x[i] = -kInfinity;
    const std::vector<float> y = run(x);
    EXPECT_THAT(y, is_close_to(reference(x), tolerance::kTranscendental));
    EXPECT_EQ(y[0], 0.0f);
  }
}

TEST_P(SoftmaxKernelTest, ARowOfMinusInfinityBecomesZeros) {
  for (int size : {1, 8, 21, 33}) {
    const auto count = static_cast<size_t>(size);
    EXPECT_EQ(run(std::vector<float>(count, -kInfinity)), std::vector<float>(count, 0.0f));
  }
}

TEST_P(SoftmaxKernelTest, DoesNotOverflow) {
  const std::vector<float> x = {3e38f, 3e38f, -3e38f, 0.0f};
  EXPECT_THAT(run(x), is_close_to({0.5f, 0.5f, 0.0f, 0.0f}, tolerance::kElementwise));
}

TEST_P(SoftmaxKernelTest, ShowsANan) {
  std::vector<float> x(20, 1.0f);
  x[3] = std::numeric_limits<float>::quiet_NaN();
  bool found = false;
  for (float value : run(x)) found |= std::isnan(value);
  EXPECT_TRUE(found);
}

INSTANTIATE_TEST_SUITE_P(AllKernels, SoftmaxKernelTest, testing::ValuesIn(softmax_kernels()),
                         [](const auto& test) { return std::string(test.param->name); });

TEST(Softmax, DoesNotDependOnTheNumberOfThreads) {
  constexpr int kRows = 23, kSize = 1027;  // enough that four threads take part
  TestMatrix x = TestMatrix::random(kRows, kSize, /*seed=*/4);
  std::vector<float> expected;
  for (int t = 0; t < kRows; ++t) {
    const std::vector<float> row = reference({x.row(t).begin(), x.row(t).end()});
    expected.insert(expected.end(), row.begin(), row.end());
  }
  for (int num_threads = 1; num_threads <= 4; ++num_threads) {
    SCOPED_TRACE(num_threads);
    ThreadPool threads(num_threads);
    TestMatrix y(kRows, kSize, /*gap=*/7);
    softmax(x.tensor(), y.tensor(), threads);
    EXPECT_THAT(y.values(), is_close_to(expected, tolerance::kTranscendental));
    EXPECT_TRUE(y.gaps_are_untouched());
  }
}

TEST(Softmax, RefusesWhatDoesNotMatch) {
  ThreadPool threads(1);
  TestMatrix x(2, 8), other(2, 7), empty(2, 0);
  EXPECT_THROW(softmax(x.tensor(), other.tensor(), threads), Error);
  EXPECT_THROW(softmax(empty.tensor(), empty.tensor(), threads), Error);
}

TEST(SelectSoftmax, TakesTheBestTheCpuHas) {
  EXPECT_STREQ(select_softmax(Isa{}).name, "scalar");
  EXPECT_STREQ(select_softmax(Isa{Isa::kAvx2}).name, "avx2");
  EXPECT_STREQ(select_softmax(Isa{Isa::kAvx2, Isa::kAvx512}).name, "avx512");
}

}  // namespace
}  // namespace lanner
