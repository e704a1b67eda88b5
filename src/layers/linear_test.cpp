// SPDX-License-Identifier: Apache-2.0
#include "layers/linear.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <gtest/gtest.h>

#include "base/json.h"
#include "base/testing/random.h"
#include "layers/embedding.h"
#include "layers/mlp.h"
#include "layers/norm.h"
#include "layers/testing/layer_fixture.h"
#include "weights/testing/expect_error.h"

namespace lanner {
namespace {

constexpr int64_t kIn = 24;
constexpr int64_t kTokens = 5;

class LinearTest : public testing::Test {
 protected:
  LinearTest() {
    uint32_t seed = 1;
    for (const auto& [name, out] : {std::pair{"q_proj", 32}, {"k_proj", 17}, {"v_proj", 8}}) {
      checkpoint.add(std::string("attn.") + name + ".weight", Shape{out, kIn},
                     random_normal(out * kIn, seed++));
      checkpoint.add(std::string("attn.") + name + ".bias", Shape{out}, random_normal(out, seed++));
    }
    checkpoint.add("attn.square.weight", Shape{kIn, kIn}, random_normal(kIn * kIn, seed++));
    checkpoint.add("attn.square.bias", Shape{kIn}, random_normal(kIn, seed++));
    checkpoint.add("norm.weight", Shape{kIn}, random_normal(kIn, seed++));
  }

  WeightScope scope() const { return WeightScope(checkpoint).at("attn"); }
  Tensor x() { return Tensor(x_.data(), DType::kF32, Shape{kTokens, kIn}); }
  // y[token][i] = sum over k of x[token][k] * weight[i][k] + bias[i], in double.
  double expected(const std::string& part, int64_t token, int64_t i, bool bias) {
    const CheckpointTensor weight = checkpoint.get("attn." + part + ".weight");
    double sum = bias ? checkpoint.get("attn." + part + ".bias").view.data<float>()[i] : 0.0;
    for (int64_t k = 0; k < kIn; ++k) {
      sum += double{x().row<float>(token)[k]} * weight.view.row<float>(i)[k];
    }
    return sum;
  }

  MemoryCheckpoint checkpoint;
  LayerFixture fixture;
  std::vector<float> x_ = random_normal(kTokens * kIn, 99);
};

TEST_F(LinearTest, PartsStandSideBySideWithTheirBiases) {
  for (bool bias : {false, true}) {
    const Linear linear({{"q_proj", 32}, {"k_proj", 17}, {"v_proj", 8}}, kIn, bias, scope(),
                        fixture.load);
    EXPECT_EQ(linear.in_features(), kIn);
    ASSERT_EQ(linear.out_features(), 57);
    std::vector<float> y(kTokens * 57);
    const Tensor out(y.data(), DType::kF32, Shape{kTokens, 57});
    linear.forward(x(), out, fixture.context);
    for (int64_t token = 0; token < kTokens; ++token) {
      int64_t column = 0;
      for (const auto& [part, width] : {std::pair{"q_proj", 32}, {"k_proj", 17}, {"v_proj", 8}}) {
        for (int64_t i = 0; i < width; ++i, ++column) {
          EXPECT_NEAR(out.row<float>(token)[column], expected(part, token, i, bias), 1e-4);
        }
      }
    }
  }
  EXPECT_EQ(fixture.reported_bytes, 2 * 57 * kIn * 4) << "both times the bytes of the file";
}

TEST_F(LinearTest, ASumAddsToTheResidual) {
  const RowParallelLinear linear({{"square", kIn}}, kIn, {0, kIn}, /*bias=*/true, scope(),
                                 fixture.load);
  std::vector<float> y(kTokens * kIn, 10.0f);
  const Tensor hidden(y.data(), DType::kF32, Shape{kTokens, kIn});
  RankSum sum(hidden, fixture.context);
  linear.forward({x(), x()}, sum, fixture.context);
  sum.finish();
  for (int64_t token = 0; token < kTokens; ++token) {
    for (int64_t i = 0; i < kIn; ++i) {
      EXPECT_NEAR(hidden.row<float>(token)[i], 10.0 + expected("square", token, i, true), 1e-4);
    }
  }
}

// The columns [5, 19) alone: with groups of 8 those of [0, 24) are read, the others meet zeros.
TEST_F(LinearTest, AShareOfTheInputsAddsItsPart) {
  for (const auto dtype : {std::optional<DType>(), std::optional(DType::kI8)}) {
    fixture.load.weight_dtype = dtype;
    const RowParallelLinear linear({{"square", kIn}}, kIn, {5, 19}, /*bias=*/false, scope(),
                                   fixture.load);
    EXPECT_EQ(linear.in_features(), dtype ? kIn : 14);
    const Workspace::Scope memory(fixture.workspace);
    const RowParallelLinear::Input input = linear.allocate_input(kTokens, fixture.workspace);
    ASSERT_EQ(input.own.size(-1), 14);
    for (int64_t token = 0; token < kTokens; ++token) {
      std::copy_n(x().row<float>(token) + 5, 14, input.own.row<float>(token));
    }
    std::vector<float> y(kTokens * kIn);
    const Tensor out(y.data(), DType::kF32, Shape{kTokens, kIn});
    linear.forward_part(input, out, fixture.context);
    const float* weight = checkpoint.get("attn.square.weight").view.data<float>();
    for (int64_t token = 0; token < kTokens; ++token) {
      for (int64_t i = 0; i < kIn; ++i) {
        double sum = 0;
        for (int64_t k = 5; k < 19; ++k) {
          sum += double{x().row<float>(token)[k]} * weight[i * kIn + k];
        }
        EXPECT_NEAR(out.row<float>(token)[i], sum, dtype ? 0.2 : 1e-4);
      }
    }
  }
}

TEST_F(LinearTest, AnEmptyShareHasNoWeightAndNoPart) {
  const RowParallelLinear linear({{"square", kIn}}, kIn, {kIn, kIn}, /*bias=*/false, scope(),
                                 fixture.load);
  EXPECT_EQ(linear.bytes(), 0);
  EXPECT_EQ(fixture.reported_bytes, 0);
  std::vector<float> y(kTokens * kIn, 3.0f);
  const Tensor out(y.data(), DType::kF32, Shape{kTokens, kIn});
  RankSum sum(out, fixture.context);
  linear.forward({}, sum, fixture.context);
  sum.finish();
  EXPECT_EQ(y, std::vector<float>(y.size(), 3.0f));
}

TEST_F(LinearTest, ErrorsNameTheTensor) {
  expect_error(ErrorCode::kInvalidArgument, {"attn.q_proj.weight", "[32, 24]", "[33, 24]"},
               [&] { Linear({{"q_proj", 33}}, kIn, false, scope(), fixture.load); });
  expect_error(ErrorCode::kNotFound, {"attn.absent.weight"},
               [&] { Linear({{"absent", 33}}, kIn, false, scope(), fixture.load); });
  checkpoint.add("attn.q_proj.bias", Shape{31}, std::vector<float>(31));
  expect_error(ErrorCode::kInvalidArgument, {"attn.q_proj.bias", "[31]", "[32]"},
               [&] { Linear({{"q_proj", 32}}, kIn, true, scope(), fixture.load); });
}

TEST_F(LinearTest, TallyCountsBytesAndNamesKernelsOnce) {
  const Linear q({{"q_proj", 32}}, kIn, false, scope(), fixture.load);
  const Linear v({{"v_proj", 8}}, kIn, false, scope(), fixture.load);
  WeightTally tally;
  tally.add(q);
  tally.add(v);
  EXPECT_EQ(tally.bytes, q.bytes() + v.bytes());
  EXPECT_EQ(tally.parameters,
            q.in_features() * q.out_features() + v.in_features() * v.out_features());
  EXPECT_EQ(tally.kernels.size(), 1u);
}

TEST_F(LinearTest, RmsNormReadsItsWeight) {
  const Norm norm({.name = "norm"}, kIn, WeightScope(checkpoint));
  std::vector<float> y(kTokens * kIn);
  const Tensor out(y.data(), DType::kF32, Shape{kTokens, kIn});
  norm.forward(x(), out, fixture.context);
  const float* weight = checkpoint.get("norm.weight").view.data<float>();
  for (int64_t token = 0; token < kTokens; ++token) {
    const float* row = x().row<float>(token);
    double squares = 0;
    for (int64_t i = 0; i < kIn; ++i) squares += double{row[i]} * row[i];
    const double factor = 1.0 / std::sqrt(squares / kIn + 1e-5);
    for (int64_t i = 0; i < kIn; ++i) {
      EXPECT_NEAR(out.row<float>(token)[i], row[i] * factor * weight[i], 1e-5);
    }
  }
  expect_error(ErrorCode::kInvalidArgument, {"norm.weight", "[24]", "[25]"},
               [&] { Norm({.name = "norm"}, kIn + 1, WeightScope(checkpoint)); });
}

TEST_F(LinearTest, EmbeddingTakesRowsAndRefusesOthers) {
  const Embedding table(WeightScope(checkpoint).at("attn.q_proj"), 32, kIn);
  std::vector<float> y(3 * kIn);
  const Tensor out(y.data(), DType::kF32, Shape{3, kIn});
  const std::vector<int32_t> ids = {31, 0, 31};
  table.forward(ids, out, fixture.context);
  for (size_t i = 0; i < ids.size(); ++i) {
    for (int64_t k = 0; k < kIn; ++k) {
      EXPECT_EQ(out.row<float>(static_cast<int64_t>(i))[k],
                table.table().view.row<float>(ids[i])[k]);
    }
  }
  const std::vector<int32_t> outside = {0, 32, 1};
  EXPECT_THROW(table.forward(outside, out, fixture.context), Error);
}

TEST_F(LinearTest, UnknownActivationIsRefusedWithThoseThatWork) {
  const ConfigReader config(Json{{"hidden_act", "swish7"}}, "config.json");
  expect_error(ErrorCode::kUnsupported, {"hidden_act", "swish7", "silu"},
               [&] { read_activation(config, "hidden_act"); });
}

}  // namespace
}  // namespace lanner
