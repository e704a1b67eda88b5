// SPDX-License-Identifier: Apache-2.0
// Settings of the families that no golden folder has: other numbers of heads, biases, activations,
// RoPE scalings, windows, experts. tools/make_family_settings.py has written what transformers
// computes for them, or tools/custom_code_families.py for families that transformers has no code
// for; the weights are a hash of their names, here as there.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <future>
#include <map>

#include <gtest/gtest.h>

#include "base/buffer.h"
#include "base/error.h"
#include "base/json.h"
#include "engine/engine.h"

namespace lanner {
namespace {

// Numbers in [-1, 1): splitmix64 (Steele et al. 2014) of the name's FNV-1a hash and the element's
// number.
std::vector<double> uniform(const std::string& name, int64_t count) {
  uint64_t seed = 0xcbf29ce484222325;
  for (const char c : name) seed = (seed ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  std::vector<double> values;
  for (int64_t i = 1; i <= count; ++i) {
    uint64_t x = seed + static_cast<uint64_t>(i) * 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    x ^= x >> 31;
    values.push_back(static_cast<double>(x >> 11) * 0x1p-52 - 1.0);
  }
  return values;
}

// The tensors of a case: {name: shape}.
class HashedCheckpoint : public Checkpoint {
 public:
  HashedCheckpoint(const Json& tensors, double norm_centre) : norm_centre_(norm_centre) {
    for (const auto& [name, shape] : tensors.items()) {
      shapes_[name] = shape.get<std::vector<int64_t>>();
    }
  }
  std::vector<std::string> names() const override {
    std::vector<std::string> names;
    for (const auto& [name, shape] : shapes_) names.push_back(name);
    return names;
  }
  bool contains(std::string_view name) const override { return shapes_.contains(name); }
  TensorInfo info(std::string_view name) const override {
    const std::vector<int64_t>& shape = shape_of(name);
    return {"F32", shape, Shape(std::span(shape)).numel() * int64_t{4}};
  }
  CheckpointTensor get(std::string_view name) const override {
    const Shape shape(std::span(shape_of(name)));
    auto buffer = std::make_shared<Buffer>(static_cast<size_t>(shape.numel()) * sizeof(float));
    auto* out = buffer->as<float>();
    const bool is_bias = name.ends_with("bias") || name.ends_with("sinks");
    const bool is_norm = shape.rank() == 1 || name.find("norm") != std::string_view::npos;
    const double scale = std::sqrt(6.0 / static_cast<double>(shape[shape.rank() - 1]));
    for (const double x : uniform(std::string(name), shape.numel())) {
      const double value = is_bias ? 0.2 * x : is_norm ? norm_centre_ + 0.2 * x : x * scale;
      *out++ = static_cast<float>(value);
    }
    float* data = buffer->as<float>();
    return {Tensor(data, DType::kF32, shape), std::move(buffer)};
  }
  const std::string& path() const override { return path_; }

 private:
  const std::vector<int64_t>& shape_of(std::string_view name) const {
    const auto found = shapes_.find(name);
    if (found == shapes_.end()) {
      throw_error(ErrorCode::kNotFound, "no tensor '{}'", std::string(name));
    }
    return found->second;
  }

  double norm_centre_;
  std::map<std::string, std::vector<int64_t>, std::less<>> shapes_;
  std::string path_ = "hashed";
};

// Of the cases that have `part`.
std::vector<std::string> case_names(const char* part) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(LANNER_SETTINGS_DIR)) {
    if (read_json_file(entry.path().string()).contains(part)) {
      names.push_back(entry.path().stem().string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

class FamilySettingsTest : public testing::TestWithParam<std::string> {
 protected:
  FamilySettingsTest()
      : case_(read_json_file(fmt::format("{}/{}.json", LANNER_SETTINGS_DIR, GetParam()))) {}

  ModelFiles files() const {
    ModelFiles files{ConfigReader(case_.at("config"), "config.json"), nullptr, {}, {}, {}, {}};
    files.checkpoint = std::make_unique<HashedCheckpoint>(case_.at("tensors"),
                                                          case_.at("norm_centre").get<double>());
    return files;
  }

  static LlmConfig exact_config() {
    LlmConfig config;
    config.dtype = "fp32";
    config.kv_dtype = "fp32";
    config.kv_cache_bytes = 8 << 20;
    return config;
  }

  Json case_;
};

TEST_P(FamilySettingsTest, HasTheReferencesLogitsHoweverItIsCut) {
  const ModelFiles model = files();
  ModelRunner runner(model, exact_config(), {});
  const auto ids = case_.at("ids").get<std::vector<int32_t>>();
  const auto rows = case_.at("rows").get<std::vector<size_t>>();
  const auto expected = case_.at("logits").get<std::vector<std::vector<double>>>();
  double largest = 1.0;
  for (const auto& row : expected) {
    for (const double logit : row) largest = std::max(largest, std::abs(logit));
  }
  for (const int chunk : {0, 7, 1}) {
    std::vector<std::vector<float>> actual;
    runner.logits(ids, chunk, [&](const Tensor& logits) {
      for (int64_t i = 0; i < logits.num_rows(); ++i) {
        actual.emplace_back(logits.row<float>(i), logits.row<float>(i) + logits.size(-1));
      }
    });
    ASSERT_EQ(actual.size(), ids.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      ASSERT_EQ(actual[rows[i]].size(), expected[i].size());
      double worst = 0;
      for (size_t t = 0; t < expected[i].size(); ++t) {
        const double difference = std::abs(actual[rows[i]][t] - expected[i][t]);
        if (!(difference <= worst)) worst = difference;
      }
      EXPECT_LE(worst, 1e-4 * largest) << "row " << rows[i] << ", chunks of " << chunk;
    }
  }
}

class FamilyDecodeTest : public FamilySettingsTest {};

// Beginnings of the prompt are continued, all at once, past every length that their family's maths
// depend on: in chunks of 7 tokens, and from what they have in common in the prefix cache.
TEST_P(FamilyDecodeTest, ContinuesWithTheReferencesTokens) {
  const ModelFiles model = files();
  LlmConfig config = exact_config();
  config.max_tokens_per_step = 7;
  Engine engine(model, config, ProgressCallback());
  const auto ids = case_.at("ids").get<std::vector<int32_t>>();

  struct Answer {
    std::vector<int32_t> ids = {};
    std::promise<void> done = {};
  };
  const Json& expected = case_.at("greedy");
  for (int round = 0; round < 2; ++round) {
    std::vector<Answer> answers(expected.size());
    for (size_t i = 0; i < answers.size(); ++i) {
      EngineRequest request;
      request.prompt.assign(ids.begin(), ids.begin() + expected[i].at("prompt").get<int>());
      request.sampling.max_tokens = static_cast<int>(expected[i].at("tokens").size());
      request.sampling.ignore_eos = true;
      engine.submit(i + 1, std::move(request), [&answer = answers[i]](const TokenOutput& output) {
        answer.ids.insert(answer.ids.end(), output.token_ids.begin(), output.token_ids.end());
        if (output.finish_reason != FinishReason::kNone) answer.done.set_value();
        return true;
      });
    }
    for (size_t i = 0; i < answers.size(); ++i) {
      answers[i].done.get_future().get();
      EXPECT_EQ(answers[i].ids, expected[i].at("tokens").get<std::vector<int32_t>>())
          << "prompt of " << expected[i].at("prompt") << " tokens, round " << round;
    }
  }
}

std::string test_name(const testing::TestParamInfo<std::string>& test) {
  std::string name = test.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Settings, FamilySettingsTest, testing::ValuesIn(case_names("logits")),
                         test_name);
INSTANTIATE_TEST_SUITE_P(Settings, FamilyDecodeTest, testing::ValuesIn(case_names("greedy")),
                         test_name);

}  // namespace
}  // namespace lanner
