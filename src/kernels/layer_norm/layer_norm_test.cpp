// SPDX-License-Identifier: Apache-2.0
#include "kernels/layer_norm/layer_norm.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/testing/random.h"
#include "base/testing/tolerance.h"
#include "kernels/layer_norm/kernels.h"
#include "kernels/testing/matrix.h"

namespace lanner {
namespace {

constexpr float kEpsilon = 1e-5f;

class LayerNormKernelTest : public testing::TestWithParam<const LayerNormKernel*> {
 protected:
  void SetUp() override {
    if (!cpu_isa().has(GetParam()->needs)) {
      GTEST_SKIP() << "this CPU lacks " << GetParam()->needs.to_string();
    }
  }
};

TEST_P(LayerNormKernelTest, EqualsScalarInAndOutOfPlace) {
  for (int size : {1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 768, 4096}) {
    const std::vector<float> weight = random_normal(size, /*seed=*/2);
    const std::vector<float> bias = random_normal(size, /*seed=*/3);
    std::vector<float> x = random_normal(size, /*seed=*/1);
    for (float& value : x) value += 2.0f;
    for (const float* w : {static_cast<const float*>(nullptr), weight.data()}) {
      for (const float* b : {static_cast<const float*>(nullptr), bias.data()}) {
        SCOPED_TRACE(testing::Message() << size << (w ? " weight" : "") << (b ? " bias" : ""));
        std::vector<float> expected(x.size()), actual(x.size()), in_place = x;

        kLayerNormScalar.row(x.data(), w, b, kEpsilon, size, expected.data());
        GetParam()->row(x.data(), w, b, kEpsilon, size, actual.data());
        GetParam()->row(in_place.data(), w, b, kEpsilon, size, in_place.data());

        EXPECT_THAT(actual, is_close_to(expected, tolerance::kReduction));
        EXPECT_EQ(in_place, actual);
      }
    }
  }
}

// sum(x^2) - mean^2 in fp32 would lose every digit here.
TEST_P(LayerNormKernelTest, KeepsItsDigitsFarFromZero) {
  std::vector<float> x(64), expected(64), actual(64);
  for (size_t i = 0; i < x.size(); ++i) x[i] = 10000.0f + (i % 2 == 0 ? 1.0f : -1.0f);
  for (size_t i = 0; i < x.size(); ++i) expected[i] = i % 2 == 0 ? 1.0f : -1.0f;
  GetParam()->row(x.data(), nullptr, nullptr, 0.0f, 64, actual.data());
  EXPECT_THAT(actual, is_close_to(expected, tolerance::kReduction));
}

INSTANTIATE_TEST_SUITE_P(AllKernels, LayerNormKernelTest, testing::ValuesIn(layer_norm_kernels()),
                         [](const auto& test) { return std::string(test.param->name); });

TEST(LayerNorm, DoesNotDependOnTheNumberOfThreads) {
  constexpr int kRows = 37, kSize = 1027;  // enough that four threads take part
  TestMatrix x = TestMatrix::random(kRows, kSize, /*seed=*/4);
  std::vector<float> weight = random_normal(kSize, /*seed=*/5);
  std::vector<float> bias = random_normal(kSize, /*seed=*/6);
  std::vector<float> expected;
  for (int t = 0; t < kRows; ++t) {
    std::vector<float> row(kSize);
    kLayerNormScalar.row(x.row(t).data(), weight.data(), bias.data(), kEpsilon, kSize, row.data());
    expected.insert(expected.end(), row.begin(), row.end());
  }
  const Tensor w(weight.data(), DType::kF32, {kSize}), b(bias.data(), DType::kF32, {kSize});
  for (int num_threads = 1; num_threads <= 4; ++num_threads) {
    SCOPED_TRACE(num_threads);
    ThreadPool threads(num_threads);
    TestMatrix y(kRows, kSize, /*gap=*/7);
    layer_norm(x.tensor(), &w, &b, kEpsilon, y.tensor(), threads);
    EXPECT_THAT(y.values(), is_close_to(expected, tolerance::kReduction));
    EXPECT_TRUE(y.gaps_are_untouched());
  }
}

TEST(LayerNorm, RefusesWhatDoesNotMatch) {
  ThreadPool threads(1);
  TestMatrix x(2, 8), y(2, 8), other(3, 8);
  std::vector<float> values(8);
  const Tensor good(values.data(), DType::kF32, {8}), narrow(values.data(), DType::kF32, {7});
  const Tensor half(values.data(), DType::kF16, {8});
  EXPECT_NO_THROW(layer_norm(x.tensor(), &good, &good, kEpsilon, y.tensor(), threads));
  EXPECT_THROW(layer_norm(x.tensor(), &narrow, &good, kEpsilon, y.tensor(), threads), Error);
  EXPECT_THROW(layer_norm(x.tensor(), &good, &narrow, kEpsilon, y.tensor(), threads), Error);
  EXPECT_THROW(layer_norm(x.tensor(), &half, nullptr, kEpsilon, y.tensor(), threads), Error);
  EXPECT_THROW(layer_norm(x.tensor(), &good, &good, kEpsilon, other.tensor(), threads), Error);
}

TEST(SelectLayerNorm, TakesTheBestTheCpuHas) {
  EXPECT_STREQ(select_layer_norm(Isa{}).name, "scalar");
  EXPECT_STREQ(select_layer_norm(Isa{Isa::kAvx2}).name, "avx2");
  EXPECT_STREQ(select_layer_norm(Isa{Isa::kAvx2, Isa::kAvx512}).name, "avx512");
}

TEST(LayerNorm, HeadsAreNormalisedOneByOneWithOneWeightOrTheirOwn) {
  constexpr int kHeads = 3, kHeadDim = 10, kWidth = kHeads * kHeadDim;
  std::vector<float> weight = random_normal(kWidth, 8), bias = random_normal(kWidth, 9);
  for (int size : {kHeadDim, kWidth}) {
    TestMatrix x = TestMatrix::random(5, kWidth, /*seed=*/7);
    TestMatrix expected = x;
    const Tensor b(bias.data(), DType::kF32, {size});
    ThreadPool threads(2);
    layer_norm_per_head(x.tensor(), kHeadDim, Tensor(weight.data(), DType::kF32, {size}), &b, 1e-5f,
                        x.tensor(), threads);
    for (int t = 0; t < 5; ++t) {
      for (int h = 0; h < kHeads; ++h) {
        const int at = size == kWidth ? h * kHeadDim : 0;
        float* head = expected.row(t).data() + h * kHeadDim;
        kLayerNormScalar.row(head, weight.data() + at, bias.data() + at, 1e-5f, kHeadDim, head);
      }
    }
    EXPECT_THAT(x.values(), is_close_to(expected.values(), tolerance::kReduction));
    EXPECT_TRUE(x.gaps_are_untouched());
  }
}

}  // namespace
}  // namespace lanner
