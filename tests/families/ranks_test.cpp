// SPDX-License-Identifier: Apache-2.0
// Every family on several ranks, here threads of one process: the reference's logits and greedy
// tokens on 2, 3, 4 and 8 of them, and the same numbers as on one with every type of weights and of
// the KV cache.
#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "engine/model_runner.h"
#include "engine/testing/golden_case.h"
#include "engine/testing/rank_threads.h"

namespace lanner {
namespace {

// As in golden_test.cpp.
constexpr double kLogitTolerance = 1e-4;
constexpr double kClearMargin = 1e-3;

LlmConfig exact_config() {
  LlmConfig config;
  config.dtype = "fp32";
  config.kv_dtype = "fp32";
  config.threads = 1;
  config.kv_cache_bytes = 8 << 20;
  config.max_tokens_per_step = 64;
  return config;
}

class RanksTest : public testing::TestWithParam<std::string> {
 protected:
  RanksTest() : golden_(load_golden_case(GetParam())), files_(open_model(golden_.folder)) {}

  GoldenCase golden_;
  ModelFiles files_;
};

TEST_P(RanksTest, LogitsAndGreedyTokensEqualTheReference) {
  const auto vocab_size = static_cast<size_t>(golden_.vocab_size);
  for (int size : {2, 3, 4, 8}) {
    RankThreads ranks(files_, exact_config(), size);
    for (const GoldenPrompt& prompt : golden_.prompts) {
      SCOPED_TRACE(prompt.name + " on " + std::to_string(size) + " ranks");
      const Logits logits = compute_logits(ranks.runner(), prompt.ids);
      ASSERT_EQ(logits.size(), prompt.ids.size() * vocab_size);
      const size_t offset = logits.size() - prompt.logits.size();
      EXPECT_LE(max_difference(logits.data() + offset, prompt.logits.data(), prompt.logits.size()),
                kLogitTolerance * std::max(1.0, prompt.logits_max_abs));
    }
    // The answers of the first prompt, each token computed on its own after the prompt.
    const GoldenPrompt& prompt = golden_.prompts.front();
    std::vector<int32_t> ids = prompt.ids;
    ids.insert(ids.end(), prompt.greedy.begin(), prompt.greedy.end());
    const Logits logits = compute_logits(ranks.runner(), ids, 5);
    for (size_t i = 0; i < prompt.greedy.size(); ++i) {
      if (prompt.greedy_margins[i] < kClearMargin) break;
      const auto row =
          logits.begin() + static_cast<std::ptrdiff_t>((prompt.ids.size() + i - 1) * vocab_size);
      EXPECT_EQ(std::max_element(row, row + golden_.vocab_size) - row, prompt.greedy[i])
          << size << " ranks, step " << i;
    }
    EXPECT_EQ(ranks.runner().communicator().stats().sum_bytes_copied, 0u);
    EXPECT_EQ(ranks.join(), "");
  }
}

// Two ranks cut quantised matrices where one has them whole, so what is left are the roundings of
// activations in groups that both have a part of.
TEST_P(RanksTest, SmallerTypesEqualThoseOfOneRank) {
  constexpr struct {
    const char* dtype;
    const char* kv_dtype;
    double tolerance;  // of the largest logit
  } kTypes[] = {{"bf16", "fp32", 0.02}, {"fp32", "fp16", 0.002}, {"fp32", "int8", 0.01},
                {"int8", "fp16", 0.03}, {"int4", "int8", 0.25},  {"w8a8", "bf16", 0.15}};
  for (const auto& [dtype, kv_dtype, tolerance] : kTypes) {
    LlmConfig config = exact_config();
    config.dtype = dtype;
    config.kv_dtype = kv_dtype;
    RankThreads ranks(files_, config, 2);
    ModelRunner alone(files_, config, {});
    // The median over positions: a router may choose otherwise where two experts are as good.
    std::vector<double> errors;
    for (const GoldenPrompt& prompt : golden_.prompts) {
      const Logits expected = compute_logits(alone, prompt.ids);
      const Logits actual = compute_logits(ranks.runner(), prompt.ids);
      ASSERT_EQ(actual.size(), expected.size());
      const auto vocab_size = static_cast<size_t>(golden_.vocab_size);
      for (size_t row = 0; row < expected.size(); row += vocab_size) {
        double most = 0;
        for (size_t i = row; i < row + vocab_size; ++i) {
          most = std::max(most, std::abs(double{expected[i]}));
        }
        errors.push_back(max_difference(&actual[row], &expected[row], vocab_size) / most);
      }
    }
    const auto middle = errors.begin() + static_cast<std::ptrdiff_t>(errors.size() / 2);
    std::nth_element(errors.begin(), middle, errors.end());
    EXPECT_LE(*middle, tolerance) << dtype << " weights, " << kv_dtype << " cache";
    EXPECT_EQ(ranks.join(), "");
  }
}

// Of weights, of the file and of the cache.
TEST(Ranks, EachHasItsShare) {
  const ModelFiles files = open_model(std::string(LANNER_GOLDEN_DIR) + "/llama-mha");
  ModelRunner alone(files, exact_config(), {});
  RankThreads ranks(files, exact_config(), 3);
  const ModelRunner& first = ranks.runner();
  EXPECT_LE(3 * first.model().weights().bytes, alone.model().weights().bytes * 11 / 10);
  EXPECT_LE(3 * first.model().weights().parameters, alone.model().weights().parameters * 11 / 10);
  EXPECT_EQ(3 * first.plan().kv_layouts.front().kv_heads, alone.plan().kv_layouts.front().kv_heads);
  EXPECT_NEAR(static_cast<double>(first.plan().memory.max_context),
              static_cast<double>(alone.plan().memory.max_context), 64);
  EXPECT_EQ(ranks.join(), "");
}

// Heads of 16 values in blocks of 32: four ranks cut every block of the output projection in two.
TEST(Ranks, BlocksOfAGgufFileStayWhole) {
  const ModelFiles files =
      open_model(std::string(LANNER_GOLDEN_DIR) + "/../gguf/llama-tied-q8_0.gguf");
  LlmConfig config = exact_config();
  config.dtype = "auto";
  ModelRunner alone(files, config, {});
  const std::vector<int32_t> ids = {1, 40, 77, 12, 300, 5, 99, 180, 33};
  const Logits expected = compute_logits(alone, ids);
  const auto most = std::ranges::max(expected, {}, [](float x) { return std::abs(x); });
  for (int size : {2, 3, 4, 8}) {
    RankThreads ranks(files, config, size);
    const Logits actual = compute_logits(ranks.runner(), ids);
    ASSERT_EQ(actual.size(), expected.size());
    EXPECT_LE(max_difference(actual.data(), expected.data(), actual.size()), 0.03 * std::abs(most))
        << size << " ranks";
    EXPECT_EQ(ranks.join(), "");
  }
}

// A rank that cannot go on tells the others why, and the first one says it from then on.
TEST(Ranks, AnErrorOnOneIsAnErrorOnAll) {
  const ModelFiles files = open_model(std::string(LANNER_GOLDEN_DIR) + "/llama-mha");
  RankThreads ranks(files, exact_config(), 2);
  SchedulerOutput output;
  output.tokens = {100'000};  // outside the vocabulary
  output.slots = {0};
  output.blocks = {0};
  output.sequences = {{.id = 1, .num_tokens = 1, .num_logits = 1, .num_blocks = 1, .sample = true}};
  EXPECT_THROW(ranks.runner().step(output), Error);
  EXPECT_NE(ranks.runner().failure(), "");
  output.tokens = {5};
  EXPECT_THROW(ranks.runner().step(output), Error) << "there is no going on";
  EXPECT_NE(ranks.join(), "");
}

INSTANTIATE_TEST_SUITE_P(
    Families, RanksTest, testing::ValuesIn(golden_families()), [](const auto& test) {
      std::string name = test.param;
      std::replace_if(name.begin(), name.end(), [](char c) { return !std::isalnum(c); }, '_');
      return name;
    });

}  // namespace
}  // namespace lanner
