// SPDX-License-Identifier: Apache-2.0
// The numbers are from formulas written down independently, in Python, from HF's
// modeling_rope_utils.py; a rotated width of 16.
#include "layers/rotary.h"

#include <cmath>

#include <gtest/gtest.h>

#include "base/json.h"
#include "layers/testing/layer_fixture.h"
#include "weights/testing/expect_error.h"

namespace lanner {
namespace {

constexpr int kHeadDim = 16;

RopeConfig read(const Json& changes, int head_dim = kHeadDim) {
  Json json = {{"max_position_embeddings", 128}, {"rope_theta", 10000.0}};
  json.update(changes);
  return RopeConfig(ConfigReader(json, "config.json"), head_dim);
}

void expect_frequencies(const RopeConfig& config, int length, const std::vector<double>& expected) {
  const std::vector<double> actual = rope_frequencies(config, length);
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(actual[i], expected[i], 1e-11 * expected[i]) << "frequency " << i;
  }
}

const std::vector<double> kPlain = {1.0,     3.162277660168e-01, 1.0e-01, 3.162277660168e-02,
                                    1.0e-02, 3.162277660168e-03, 1.0e-03, 3.162277660168e-04};

TEST(RopeConfig, DefaultFrequencies) {
  expect_frequencies(read(Json::object()), 1000, kPlain);
  expect_frequencies(read({{"rope_scaling", {{"rope_type", "default"}}}}), 1000, kPlain);
  expect_frequencies(read({{"rope_scaling", nullptr}}), 1000, kPlain);
  EXPECT_EQ(read(Json::object()).max_length(), 128);
  EXPECT_EQ(read(Json::object()).attention_scaling, 1.0);
}

TEST(RopeConfig, LinearDividesAllFrequencies) {
  expect_frequencies(read({{"rope_scaling", {{"type", "linear"}, {"factor", 4.0}}}}), 1,
                     {0.25, 7.905694150421e-02, 2.5e-02, 7.905694150421e-03, 2.5e-03,
                      7.905694150421e-04, 2.5e-04, 7.905694150421e-05});
}

TEST(RopeConfig, DynamicChangesTheBaseBeyondTheTrainedLength) {
  const RopeConfig config = read({{"rope_scaling", {{"type", "dynamic"}, {"factor", 2.0}}}});
  expect_frequencies(config, 128, kPlain);
  expect_frequencies(
      config, 300,
      {1.0, 2.624449869470e-01, 6.887737117361e-02, 1.807652077860e-02, 4.744092259787e-03,
       1.245063231195e-03, 3.267606034592e-04, 8.575668230965e-05});
  EXPECT_GE(config.max_length(), 256);
  EXPECT_EQ(config.recompute_length(), 0) << "the reference keeps cached keys";
}

TEST(RopeConfig, Llama3BlendsByWavelength) {
  const RopeConfig config = read({{"rope_theta", 5000.0},
                                  {"rope_scaling",
                                   {{"rope_type", "llama3"},
                                    {"factor", 8.0},
                                    {"low_freq_factor", 1.0},
                                    {"high_freq_factor", 4.0},
                                    {"original_max_position_embeddings", 256}}}});
  expect_frequencies(
      config, 1,
      {1.0, 3.448488241248e-01, 1.189207115003e-01, 1.315075669915e-02, 1.767766952966e-03,
       6.096123550572e-04, 2.102241038134e-04, 7.249553500276e-05});
}

Json yarn(const Json& changes = Json::object()) {
  Json scaling = {
      {"rope_type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 2048}};
  scaling.update(changes);
  return {{"rope_scaling", scaling}};
}

TEST(RopeConfig, YarnRampsBetweenTheCorrectionDimensions) {
  expect_frequencies(read(yarn()), 1,
                     {1.0, 3.162277660168e-01, 1.0e-01, 2.569350598887e-02, 6.25e-03,
                      1.383496476324e-03, 2.5e-04, 7.905694150421e-05});
  expect_frequencies(read(yarn({{"truncate", false}})), 1,
                     {1.0, 3.162277660168e-01, 1.0e-01, 2.387019232174e-02, 5.056971521129e-03,
                      8.112903817014e-04, 2.5e-04, 7.905694150421e-05});
  expect_frequencies(read(yarn({{"beta_fast", 16}, {"beta_slow", 2}})), 1,
                     {1.0, 3.162277660168e-01, 1.0e-01, 2.371708245126e-02, 5.0e-03,
                      7.905694150421e-04, 2.5e-04, 7.905694150421e-05});
  EXPECT_GE(read(yarn()).max_length(), 16384);
}

TEST(RopeConfig, YarnScalesCosAndSin) {
  EXPECT_NEAR(read(yarn()).attention_scaling, 1.138629436111989, 1e-12);
  EXPECT_EQ(read(yarn({{"attention_factor", 0.75}})).attention_scaling, 0.75);
  EXPECT_EQ(read(yarn({{"mscale", 1.0}, {"mscale_all_dim", 1.0}})).attention_scaling, 1.0);
  EXPECT_NEAR(
      read(yarn({{"factor", 40.0}, {"mscale", 0.707}, {"mscale_all_dim", 1.0}})).attention_scaling,
      0.9210423553163399, 1e-12);
  EXPECT_NEAR(read(yarn({{"mscale", 0.707}})).attention_scaling, 1.138629436111989, 1e-12)
      << "one of the two keys alone counts for nothing";
}

const std::vector<double> kShort = {1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5};
const std::vector<double> kLong = {2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0};

Json longrope(const Json& changes = Json::object()) {
  Json scaling = {{"type", "longrope"}, {"short_factor", kShort}, {"long_factor", kLong}};
  scaling.update(changes);
  return {{"max_position_embeddings", 8192},
          {"original_max_position_embeddings", 128},
          {"rope_scaling", scaling}};
}

TEST(RopeConfig, LongropeTakesItsFactorsByLength) {
  const RopeConfig config = read(longrope());
  std::vector<double> of_short = kPlain;
  std::vector<double> of_long = kPlain;
  for (size_t i = 0; i < kPlain.size(); ++i) {
    of_short[i] /= kShort[i];
    of_long[i] /= kLong[i];
  }
  expect_frequencies(config, 128, of_short);
  expect_frequencies(config, 129, of_long);
  EXPECT_NEAR(config.attention_scaling, 1.3627702877384937, 1e-12);
  EXPECT_EQ(config.recompute_length(), 128);
  EXPECT_EQ(config.max_length(), 8192);
  EXPECT_EQ(read(longrope({{"attention_factor", 1.25}})).attention_scaling, 1.25);
  expect_frequencies(read(longrope({{"type", "su"}})), 129, of_long);
  Json unstretched = longrope();
  unstretched["max_position_embeddings"] = 128;
  EXPECT_EQ(read(unstretched).attention_scaling, 1.0);
  EXPECT_EQ(read(unstretched).recompute_length(), 0);
}

TEST(RopeConfig, RefusesByName) {
  struct Case {
    Json changes;
    ErrorCode code;
    std::vector<std::string> words;
  };
  const Json llama3 = {{"rope_type", "llama3"},
                       {"factor", 8.0},
                       {"low_freq_factor", 4.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 256}};
  const std::vector<Case> cases = {
      {{{"rope_scaling", {{"rope_type", "spiral"}}}},
       ErrorCode::kUnsupported,
       {"rope_scaling.rope_type", "spiral", "longrope"}},
      {{{"rope_scaling", {{"type", "linear"}}}},
       ErrorCode::kInvalidArgument,
       {"rope_scaling.factor"}},
      {{{"rope_scaling", {{"type", "linear"}, {"factor", -2.0}}}},
       ErrorCode::kInvalidArgument,
       {"rope_scaling.factor", "-2"}},
      {{{"rope_scaling", {{"type", "dynamic"}, {"factor", "two"}}}},
       ErrorCode::kInvalidArgument,
       {"rope_scaling.factor"}},
      {{{"rope_scaling", {{"factor", 2.0}}}}, ErrorCode::kInvalidArgument, {"rope_scaling.type"}},
      {{{"rope_scaling", 7}}, ErrorCode::kInvalidArgument, {"rope_scaling"}},
      {{{"rope_scaling", llama3}}, ErrorCode::kInvalidArgument, {"high_freq_factor"}},
      {yarn({{"factor", 0.0}}), ErrorCode::kInvalidArgument, {"rope_scaling.factor"}},
      {longrope({{"short_factor", {1.0, 2.0}}}),
       ErrorCode::kInvalidArgument,
       {"short_factor", "2 factors", "expected 8"}},
      {longrope({{"long_factor", {1, 1, 1, 1, 1, 1, 1, -1}}}),
       ErrorCode::kInvalidArgument,
       {"long_factor"}},
      {longrope({{"long_factor", nullptr}}), ErrorCode::kInvalidArgument, {"long_factor"}},
      {{{"rope_theta", 0}}, ErrorCode::kInvalidArgument, {"rope_theta"}},
      {{{"rope_theta", -1e4}}, ErrorCode::kInvalidArgument, {"rope_theta"}},
      {{{"max_position_embeddings", 0}}, ErrorCode::kInvalidArgument, {"max_position_embeddings"}},
      {{{"partial_rotary_factor", 1.5}}, ErrorCode::kInvalidArgument, {"partial_rotary_factor"}},
      {{{"partial_rotary_factor", 0.2}}, ErrorCode::kInvalidArgument, {"partial_rotary_factor"}},
      {{{"partial_rotary_factor", 0.05}}, ErrorCode::kInvalidArgument, {"partial_rotary_factor"}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.changes.dump());
    expect_error(c.code, c.words, [&] { read(c.changes); });
  }
}

// Rotation by hand, in double.
std::vector<double> rotated(const std::vector<float>& head, int position,
                            const std::vector<double>& frequencies, double scale) {
  std::vector<double> result(head.begin(), head.end());
  const size_t half = frequencies.size();
  for (size_t i = 0; i < half; ++i) {
    const double angle = position * frequencies[i];
    const double a = head[i];
    const double b = head[i + half];
    result[i] = (a * std::cos(angle) - b * std::sin(angle)) * scale;
    result[i + half] = (b * std::cos(angle) + a * std::sin(angle)) * scale;
  }
  return result;
}

// A batch of a chunk from the middle of one sequence, a whole short one and a decoded token.
void expect_rotation(const Json& changes, int max_context) {
  const RopeConfig config = read(changes);
  LayerFixture fixture(max_context);
  const RotaryEmbedding rotary(config, kHeadDim, fixture.load);
  ForwardBatch batch;
  const auto add = [&](int past, int count, int length) {
    batch.sequences.push_back({.token_begin = batch.num_tokens(),
                               .token_count = count,
                               .past_length = past,
                               .rope_length = length,
                               .block_table = {}});
    for (int i = 0; i < count; ++i) {
      batch.token_ids.push_back(0);
      batch.positions.push_back(past + i);
    }
  };
  add(100, 7, 180);
  add(0, 5, 5);
  add(150, 1, 151);

  std::vector<float> x(static_cast<size_t>(batch.num_tokens()) * 2 * kHeadDim);
  for (size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(i));
  std::vector<float> y = x;
  rotary.apply(Tensor(y.data(), DType::kF32, Shape{batch.num_tokens(), 2 * kHeadDim}), batch,
               fixture.context);
  for (const ForwardBatch::Sequence& s : batch.sequences) {
    const std::vector<double> frequencies = rope_frequencies(config, s.rope_length);
    for (int i = 0; i < s.token_count * 2; ++i) {
      const size_t at = static_cast<size_t>(s.token_begin * 2 + i) * kHeadDim;
      const auto begin = x.begin() + static_cast<std::ptrdiff_t>(at);
      const std::vector<double> expected = rotated({begin, begin + kHeadDim}, s.past_length + i / 2,
                                                   frequencies, config.attention_scaling);
      for (size_t k = 0; k < expected.size(); ++k) {
        ASSERT_NEAR(y[at + k], expected[k], 2e-6) << "token " << s.token_begin + i / 2;
      }
    }
  }
}

TEST(RotaryEmbedding, RotatesEverySequenceByItsOwnLength) {
  expect_rotation({{"max_position_embeddings", 256}}, 200);
  expect_rotation({{"rope_scaling", {{"type", "dynamic"}, {"factor", 2.0}}}}, 200);
  expect_rotation(longrope(), 200);
  expect_rotation(yarn(), 200);
}

TEST(RotaryEmbedding, PartialRotationLeavesTheRestOfTheHead) {
  expect_rotation({{"max_position_embeddings", 256}, {"partial_rotary_factor", 0.5}}, 200);
  const RopeConfig config = read({{"partial_rotary_factor", 0.5}});
  EXPECT_EQ(config.rotary_dim, 8);
  expect_frequencies(config, 1, {1.0, 0.1, 0.01, 0.001});
}

}  // namespace
}  // namespace lanner
