// SPDX-License-Identifier: Apache-2.0
#include "kernels/rms_norm/rms_norm.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/testing/random.h"
#include "base/testing/tolerance.h"
#include "kernels/rms_norm/kernels.h"
#include "kernels/testing/matrix.h"

namespace lanner {
namespace {

constexpr float kEpsilon = 1e-5f;

class RmsNormKernelTest : public testing::TestWithParam<const RmsNormKernel*> {
 protected:
  void SetUp() override {
    if (!cpu_isa().has(GetParam()->needs)) {
      GTEST_SKIP() << "this CPU lacks " << GetParam()->needs.to_string();
    }
  }
};

TEST_P(RmsNormKernelTest, EqualsScalarInAndOutOfPlace) {
  // Sizes around the vector width catch tails; 4096 is what models have.
  for (int size : {1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 576, 4096}) {
    SCOPED_TRACE(size);
    const std::vector<float> x = random_normal(size, /*seed=*/1);
    const std::vector<float> weight = random_normal(size, /*seed=*/2);
    std::vector<float> expected(x.size()), actual(x.size()), in_place = x;

    kRmsNormScalar.row(x.data(), weight.data(), kEpsilon, size, expected.data());
    GetParam()->row(x.data(), weight.data(), kEpsilon, size, actual.data());
    GetParam()->row(in_place.data(), weight.data(), kEpsilon, size, in_place.data());

    EXPECT_THAT(actual, is_close_to(expected, tolerance::kReduction));
    EXPECT_EQ(in_place, actual);
  }
}

TEST_P(RmsNormKernelTest, EpsilonKeepsARowOfZerosFinite) {
  const std::vector<float> x(33, 0.0f), weight(33, 2.0f);
  std::vector<float> y(33, 1.0f);
  GetParam()->row(x.data(), weight.data(), kEpsilon, 33, y.data());
  EXPECT_EQ(y, x);
}

INSTANTIATE_TEST_SUITE_P(AllKernels, RmsNormKernelTest, testing::ValuesIn(rms_norm_kernels()),
                         [](const auto& test) { return std::string(test.param->name); });

TEST(RmsNorm, HasUnitRootMeanSquareWithUnitWeight) {
  TestMatrix x = TestMatrix::random(1, 100, /*seed=*/3);
  std::vector<float> weight(100, 1.0f);
  ThreadPool threads(1);
  rms_norm(x.tensor(), Tensor(weight.data(), DType::kF32, {100}), 0.0f, x.tensor(), threads);
  double sum = 0;
  for (float value : x.values()) sum += static_cast<double>(value) * value;
  EXPECT_NEAR(sum / 100, 1.0, 1e-6);
}

TEST(RmsNorm, DoesNotDependOnTheNumberOfThreads) {
  constexpr int kRows = 37, kSize = 1027;  // enough that four threads take part
  TestMatrix x = TestMatrix::random(kRows, kSize, /*seed=*/4);
  std::vector<float> weight = random_normal(kSize, /*seed=*/5);
  std::vector<float> expected;
  for (int t = 0; t < kRows; ++t) {
    std::vector<float> row(kSize);
    kRmsNormScalar.row(x.row(t).data(), weight.data(), kEpsilon, kSize, row.data());
    expected.insert(expected.end(), row.begin(), row.end());
  }
  for (int num_threads = 1; num_threads <= 4; ++num_threads) {
    SCOPED_TRACE(num_threads);
    ThreadPool threads(num_threads);
    TestMatrix y(kRows, kSize, /*gap=*/7);
    rms_norm(x.tensor(), Tensor(weight.data(), DType::kF32, {kSize}), kEpsilon, y.tensor(),
             threads);
    EXPECT_THAT(y.values(), is_close_to(expected, tolerance::kReduction));
    EXPECT_TRUE(y.gaps_are_untouched());
  }
}

TEST(RmsNorm, PerHeadNormalisesEachHeadOfAColumnView) {
  constexpr int kTokens = 5, kHeads = 3, kHeadDim = 20;
  ThreadPool threads(2);
  std::vector<float> weight = random_normal(kHeadDim, /*seed=*/6);
  TestMatrix qkv = TestMatrix::random(kTokens, kHeads * kHeadDim + 11, /*seed=*/7);
  const std::vector<float> before = qkv.values();
  std::vector<float> expected = before;
  const int width = kHeads * kHeadDim + 11;
  for (int t = 0; t < kTokens; ++t) {
    for (int head = 0; head < kHeads; ++head) {
      float* row = expected.data() + t * width + head * kHeadDim;
      kRmsNormScalar.row(row, weight.data(), kEpsilon, kHeadDim, row);
    }
  }
  const Tensor q = qkv.tensor().columns(0, kHeads * kHeadDim);
  rms_norm_per_head(q, Tensor(weight.data(), DType::kF32, {kHeadDim}), kEpsilon, q, threads);
  EXPECT_THAT(qkv.values(), is_close_to(expected, tolerance::kReduction));
  EXPECT_NE(qkv.values(), before);
}

TEST(RmsNorm, RefusesWhatDoesNotMatch) {
  ThreadPool threads(1);
  TestMatrix x(2, 8), y(2, 8), other(3, 8);
  std::vector<float> weight(8);
  const auto tensor = [&](int64_t n) { return Tensor(weight.data(), DType::kF32, Shape{n}); };
  EXPECT_THROW(rms_norm(x.tensor(), tensor(7), kEpsilon, y.tensor(), threads), Error);
  EXPECT_THROW(rms_norm(x.tensor(), tensor(4), kEpsilon, y.tensor(), threads), Error);
  EXPECT_THROW(rms_norm(x.tensor(), tensor(8), kEpsilon, other.tensor(), threads), Error);
  EXPECT_THROW(rms_norm_per_head(x.tensor(), tensor(3), kEpsilon, y.tensor(), threads), Error);
  EXPECT_THROW(rms_norm_per_head(x.tensor(), tensor(0), kEpsilon, y.tensor(), threads), Error);
  const Tensor half(weight.data(), DType::kF16, Shape{8});
  EXPECT_THROW(rms_norm(x.tensor(), half, kEpsilon, y.tensor(), threads), Error);
  EXPECT_NO_THROW(rms_norm_per_head(x.tensor(), tensor(4), kEpsilon, y.tensor(), threads));
}

TEST(RmsNorm, TakesNoRows) {
  ThreadPool threads(2);
  std::vector<float> weight(8);
  const Tensor none(nullptr, DType::kF32, Shape{0, 8});
  rms_norm(none, Tensor(weight.data(), DType::kF32, {8}), kEpsilon, none, threads);
}

TEST(SelectRmsNorm, TakesTheBestTheCpuHas) {
  EXPECT_STREQ(select_rms_norm(Isa{}).name, "scalar");
  EXPECT_STREQ(select_rms_norm(Isa{Isa::kAvx2}).name, "avx2");
  EXPECT_STREQ(select_rms_norm(Isa{Isa::kAvx2, Isa::kAvx512}).name, "avx512");
}

}  // namespace
}  // namespace lanner
