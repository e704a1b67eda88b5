// SPDX-License-Identifier: Apache-2.0
#include "kernels/elementwise/elementwise.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/testing/random.h"
#include "base/testing/tolerance.h"
#include "kernels/elementwise/kernels.h"
#include "kernels/testing/matrix.h"

namespace lanner {
namespace {

class ElementwiseKernelTest : public testing::TestWithParam<const ElementwiseKernel*> {
 protected:
  void SetUp() override {
    if (!cpu_isa().has(GetParam()->needs)) {
      GTEST_SKIP() << "this CPU lacks " << GetParam()->needs.to_string();
    }
  }
};

TEST_P(ElementwiseKernelTest, EqualsTheFormulasInAndOutOfPlace) {
  for (int size : {1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 65, 1000}) {
    SCOPED_TRACE(size);
    const std::vector<float> x = random_normal(size, /*seed=*/1, /*deviation=*/4.0f);
    const std::vector<float> other = random_normal(size, /*seed=*/2);
    std::vector<float> sum, scaled, product, capped, clamped;
    for (size_t i = 0; i < x.size(); ++i) {
      sum.push_back(static_cast<float>(0.75 * x[i] - 1.5 * other[i]));
      scaled.push_back(0.75f * x[i]);
      product.push_back(x[i] * other[i]);
      capped.push_back(static_cast<float>(3.0 * std::tanh(x[i] / 3.0)));
      clamped.push_back(std::min(std::max(x[i], -2.5f), 2.5f));
    }
    const ElementwiseKernel& kernel = *GetParam();
    std::vector<float> y = other;
    kernel.scaled_add(0.75f, x.data(), -1.5f, size, y.data());
    EXPECT_THAT(y, is_close_to(sum, tolerance::kElementwise));
    y.assign(x.size(), std::numeric_limits<float>::quiet_NaN());
    kernel.scaled_add(0.75f, x.data(), 0.0f, size, y.data());
    EXPECT_EQ(y, scaled) << "with b = 0 the old values must not be read";
    y = x;
    kernel.multiply(y.data(), other.data(), size, y.data());
    EXPECT_EQ(y, product);
    y = x;
    kernel.soft_cap(3.0f, y.data(), size, y.data());
    EXPECT_THAT(y, is_close_to(capped, tolerance::kTranscendental));
    y = x;
    kernel.clamp(2.5f, y.data(), size, y.data());
    EXPECT_EQ(y, clamped);
  }
}

TEST_P(ElementwiseKernelTest, ShowsANan) {
  std::vector<float> y(17, std::numeric_limits<float>::quiet_NaN());
  GetParam()->clamp(1.0f, y.data(), 17, y.data());
  GetParam()->soft_cap(1.0f, y.data(), 17, y.data());
  for (float value : y) EXPECT_TRUE(std::isnan(value));
}

INSTANTIATE_TEST_SUITE_P(AllKernels, ElementwiseKernelTest,
                         testing::ValuesIn(elementwise_kernels()),
                         [](const auto& test) { return std::string(test.param->name); });

TEST(Elementwise, SelectsByIsa) {
  EXPECT_STREQ(select_elementwise(Isa{}).name, "scalar");
  EXPECT_STREQ(select_elementwise(Isa{Isa::kAvx2}).name, "avx2");
  EXPECT_STREQ(select_elementwise(Isa{Isa::kAvx512}).name, "avx512");
}

TEST(Elementwise, MultipliesColumnViewsForAnyNumberOfThreads) {
  constexpr int kSize = 9001;  // no whole number of pieces
  for (int tokens : {1, 7}) {
    TestMatrix x = TestMatrix::random(tokens, 2 * kSize, /*seed=*/4);
    std::vector<float> factors = random_normal(kSize, /*seed=*/5);
    const Tensor view(factors.data(), DType::kF32, Shape{kSize});
    for (int count : {1, 2, 4}) {
      ThreadPool threads(count);
      TestMatrix y = x;
      const Tensor right = y.tensor().columns(kSize, 2 * kSize);
      multiply_columns(right, view, right, threads);
      for (int t = 0; t < tokens; ++t) {
        for (size_t i = 0; i < kSize; ++i) {
          ASSERT_EQ(y.row(t)[i], x.row(t)[i]) << "left of the view";
          ASSERT_EQ(y.row(t)[kSize + i], x.row(t)[kSize + i] * factors[i]);
        }
      }
    }
  }
}

TEST(Elementwise, RefusesWhatDoesNotFit) {
  ThreadPool threads(1);
  TestMatrix x = TestMatrix::random(2, 8, /*seed=*/6), y = TestMatrix::random(2, 9, /*seed=*/7);
  std::vector<float> factors(9);
  const Tensor view(factors.data(), DType::kF32, Shape{9});
  EXPECT_THROW(scaled_add(1.0f, x.tensor(), 0.0f, y.tensor(), threads), Error);
  EXPECT_THROW(multiply_columns(x.tensor(), view, x.tensor(), threads), Error);
  EXPECT_THROW(soft_cap(0.0f, x.tensor(), x.tensor(), threads), Error);
  EXPECT_THROW(clamp(-1.0f, x.tensor(), x.tensor(), threads), Error);
}

}  // namespace
}  // namespace lanner
