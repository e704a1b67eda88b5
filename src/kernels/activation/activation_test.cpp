// SPDX-License-Identifier: Apache-2.0
#include "kernels/activation/activation.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/testing/random.h"
#include "base/testing/tolerance.h"
#include "kernels/activation/kernels.h"
#include "kernels/testing/matrix.h"

namespace lanner {
namespace {

constexpr Activation kAll[] = {Activation::kSilu, Activation::kGelu, Activation::kGeluTanh,
                               Activation::kRelu, Activation::kRelu2};

// In double, by the formulas of activation.h.
float reference(Activation kind, float value) {
  const double x = value;
  double y = 0;
  switch (kind) {
    case Activation::kSilu:
      y = x / (1 + std::exp(-x));
      break;
    case Activation::kGelu:
      y = x / 2 * (1 + std::erf(x / std::sqrt(2.0)));
      break;
    case Activation::kGeluTanh:
      y = x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
      break;
    case Activation::kRelu:
      y = std::max(x, 0.0);
      break;
    case Activation::kRelu2:
      y = std::max(x, 0.0) * std::max(x, 0.0);
      break;
  }
  return static_cast<float>(y);
}

class ActivationKernelTest : public testing::TestWithParam<const ActivationKernel*> {
 protected:
  void SetUp() override {
    if (!cpu_isa().has(GetParam()->needs)) {
      GTEST_SKIP() << "this CPU lacks " << GetParam()->needs.to_string();
    }
  }
  std::vector<float> run(Activation kind, const std::vector<float>& x) {
    std::vector<float> y(x.size());
    GetParam()->plain[static_cast<size_t>(kind)](x.data(), static_cast<int64_t>(x.size()),
                                                 y.data());
    return y;
  }
};

TEST_P(ActivationKernelTest, EqualsTheFormulaInAndOutOfPlace) {
  for (Activation kind : kAll) {
    for (int size : {1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 65, 1000}) {
      SCOPED_TRACE(testing::Message() << "kind " << static_cast<int>(kind) << " size " << size);
      const std::vector<float> x = random_normal(size, /*seed=*/1, /*deviation=*/4.0f);
      std::vector<float> expected, in_place = x;
      for (float value : x) expected.push_back(reference(kind, value));
      GetParam()->plain[static_cast<size_t>(kind)](in_place.data(), size, in_place.data());
      EXPECT_THAT(run(kind, x), is_close_to(expected, tolerance::kTranscendental));
      EXPECT_EQ(in_place, run(kind, x));
    }
  }
}

TEST_P(ActivationKernelTest, EqualsTheFormulaOverTheWholeRange) {
  std::vector<float> x;
  for (float value = -110.0f; value <= 110.0f; value += 0.0137f) x.push_back(value);
  for (float value = -1.5f; value <= 1.5f; value += 0.00031f) x.push_back(value);
  for (float value : {0.0f, 1e-30f, -1e-30f, 1e4f, -1e4f, 1e30f, -1e30f}) x.push_back(value);
  for (Activation kind : kAll) {
    SCOPED_TRACE(static_cast<int>(kind));
    std::vector<float> expected;
    for (float value : x) expected.push_back(reference(kind, value));
    EXPECT_THAT(run(kind, x), is_close_to(expected, tolerance::kTranscendental));
  }
}

TEST_P(ActivationKernelTest, ShowsANan) {
  for (Activation kind : kAll) {
    const std::vector<float> x(17, std::numeric_limits<float>::quiet_NaN());
    for (float value : run(kind, x)) EXPECT_TRUE(std::isnan(value));
  }
}

TEST_P(ActivationKernelTest, GatedMultipliesAndMayOverwriteEitherInput) {
  for (Activation kind : kAll) {
    for (int size : {1, 8, 15, 16, 17, 33, 100}) {
      SCOPED_TRACE(testing::Message() << "kind " << static_cast<int>(kind) << " size " << size);
      const std::vector<float> gate = random_normal(size, /*seed=*/2);
      const std::vector<float> up = random_normal(size, /*seed=*/3);
      std::vector<float> expected, over_gate = gate, over_up = up;
      for (size_t i = 0; i < gate.size(); ++i) expected.push_back(reference(kind, gate[i]) * up[i]);
      const GatedActivationFn kernel = GetParam()->gated[static_cast<size_t>(kind)];
      kernel(over_gate.data(), up.data(), size, over_gate.data());
      kernel(gate.data(), over_up.data(), size, over_up.data());
      EXPECT_THAT(over_gate, is_close_to(expected, tolerance::kTranscendental));
      EXPECT_EQ(over_up, over_gate);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(AllKernels, ActivationKernelTest, testing::ValuesIn(activation_kernels()),
                         [](const auto& test) { return std::string(test.param->name); });

TEST(Activation, GatedTakesColumnViewsForAnyNumberOfThreads) {
  for (int tokens : {1, 7}) {
    constexpr int kSize = 9001;  // no whole number of pieces
    TestMatrix gate_up = TestMatrix::random(tokens, 2 * kSize, /*seed=*/4);
    std::vector<float> expected;
    for (int t = 0; t < tokens; ++t) {
      for (size_t i = 0; i < kSize; ++i) {
        expected.push_back(reference(Activation::kSilu, gate_up.row(t)[i]) *
                           gate_up.row(t)[kSize + i]);
      }
    }
    for (int num_threads = 1; num_threads <= 4; ++num_threads) {
      SCOPED_TRACE(testing::Message() << tokens << " tokens, " << num_threads << " threads");
      ThreadPool threads(num_threads);
      TestMatrix y(tokens, kSize);
      const Tensor both = gate_up.tensor();
      gated_activation(Activation::kSilu, both.columns(0, kSize), both.columns(kSize, 2 * kSize),
                       y.tensor(), threads);
      EXPECT_THAT(y.values(), is_close_to(expected, tolerance::kTranscendental));
      EXPECT_TRUE(y.gaps_are_untouched());
    }
  }
}

TEST(Activation, WorksInPlaceForAnyNumberOfThreads) {
  for (int num_threads = 1; num_threads <= 4; ++num_threads) {
    ThreadPool threads(num_threads);
    TestMatrix x = TestMatrix::random(5, 5000, /*seed=*/5);
    std::vector<float> expected;
    for (float value : x.values()) expected.push_back(reference(Activation::kGelu, value));
    activation(Activation::kGelu, x.tensor(), x.tensor(), threads);
    EXPECT_THAT(x.values(), is_close_to(expected, tolerance::kTranscendental));
    EXPECT_TRUE(x.gaps_are_untouched());
  }
}

TEST(Activation, RefusesWhatDoesNotMatch) {
  ThreadPool threads(1);
  TestMatrix x(2, 8), narrow(2, 7);
  EXPECT_THROW(activation(Activation::kRelu, x.tensor(), narrow.tensor(), threads), Error);
  EXPECT_THROW(
      gated_activation(Activation::kRelu, x.tensor(), narrow.tensor(), x.tensor(), threads), Error);
  EXPECT_THROW(
      gated_activation(Activation::kRelu, narrow.tensor(), x.tensor(), x.tensor(), threads), Error);
}

TEST(ParseActivation, KnowsTheNamesOfHf) {
  EXPECT_EQ(parse_activation("silu"), Activation::kSilu);
  EXPECT_EQ(parse_activation("swish"), Activation::kSilu);
  EXPECT_EQ(parse_activation("gelu"), Activation::kGelu);
  EXPECT_EQ(parse_activation("gelu_new"), Activation::kGeluTanh);
  EXPECT_EQ(parse_activation("gelu_fast"), Activation::kGeluTanh);
  EXPECT_EQ(parse_activation("gelu_pytorch_tanh"), Activation::kGeluTanh);
  EXPECT_EQ(parse_activation("relu"), Activation::kRelu);
  EXPECT_EQ(parse_activation("relu2"), Activation::kRelu2);
  for (const ActivationName& known : activation_names()) {
    EXPECT_EQ(parse_activation(known.name), known.activation) << known.name;
  }
}

TEST(ParseActivation, DoesNotTakeAnotherFunctionForAKnownOne) {
  for (const char* name : {"", "Silu", "quick_gelu", "gelu_10", "relu6", "tanh"}) {
    EXPECT_FALSE(parse_activation(name).has_value()) << name;
  }
}

TEST(SelectActivation, TakesTheBestTheCpuHas) {
  EXPECT_STREQ(select_activation(Isa{}).name, "scalar");
  EXPECT_STREQ(select_activation(Isa{Isa::kAvx2}).name, "avx2");
  EXPECT_STREQ(select_activation(Isa{Isa::kAvx2, Isa::kAvx512}).name, "avx512");
}

}  // namespace
}  // namespace lanner
