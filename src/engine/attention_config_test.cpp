// SPDX-License-Identifier: Apache-2.0
// What LlmConfig says of the KV cache and of attention, through a whole model.
#include <cmath>

#include <gtest/gtest.h>

#include "base/json.h"
#include "engine/model_runner.h"
#include "engine/testing/tiny_model.h"
#include "lanner/error.h"
#include "weights/model_files.h"

namespace lanner {
namespace {

std::vector<float> logits_of(const LlmConfig& config, const std::vector<int32_t>& tokens,
                             int chunk_tokens) {
  const TinyModel model;
  ModelRunner runner(open_model(model.path(), config), config, {});
  std::vector<float> logits;
  runner.logits(tokens, chunk_tokens, [&](const Tensor& rows) {
    for (int64_t i = 0; i < rows.num_rows(); ++i) {
      const float* row = rows.row<float>(i);
      logits.insert(logits.end(), row, row + rows.size(-1));
    }
  });
  return logits;
}

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(double(a[i]) - double(b[i]));
    if (!(difference <= largest)) largest = difference;  // also for NaN
  }
  return largest;
}

// All heads see the quantised K and V, also in the prefill that wrote them: a prompt at once, in
// pieces and token by token is the same but for rounding.
TEST(KvDtypes, PrefillInPiecesEqualsTheWhole) {
  const std::vector<int32_t> tokens = tiny_prompt(70);
  for (const char* kv_dtype : kKvDtypes) {
    LlmConfig config = tiny_config();
    config.kv_dtype = kv_dtype;
    const std::vector<float> whole = logits_of(config, tokens, 0);
    for (int chunk : {1, 7, 33}) {
      // An element of K at the border of two bytes may fall to either.
      EXPECT_LT(largest_difference(logits_of(config, tokens, chunk), whole), 0.02)
          << kv_dtype << " in pieces of " << chunk;
    }
  }
}

TEST(KvDtypes, CostLittle) {
  const std::vector<int32_t> tokens = tiny_prompt(70);
  LlmConfig config = tiny_config();
  const std::vector<float> exact = logits_of(config, tokens, 0);
  for (const auto& [kv_dtype, bound] :
       {std::pair{"fp16", 0.01}, {"bf16", 0.05}, {"int8", 0.25}, {"int8-plain", 0.25}}) {
    config.kv_dtype = kv_dtype;
    const double difference = largest_difference(logits_of(config, tokens, 0), exact);
    EXPECT_LT(difference, bound) << kv_dtype;
    EXPECT_GT(difference, 0) << kv_dtype << " is not in use";
  }
}

TEST(AttentionMethods, GiveTheSameLogits) {
  const std::vector<int32_t> tokens = tiny_prompt(1100);
  LlmConfig config = tiny_config();
  config.attention = "slim";
  const std::vector<float> slim = logits_of(config, tokens, 300);
  config.attention = "flash";
  EXPECT_LT(largest_difference(logits_of(config, tokens, 300), slim), 1e-3);
  config.attention = "auto";
  EXPECT_LT(largest_difference(logits_of(config, tokens, 300), slim), 1e-3);
}

TEST(AttentionMethods, AreNamedInTheReportAndRefusedIfUnknown) {
  const TinyModel model;
  LlmConfig config = tiny_config();
  for (const char* name : {"auto", "slim", "flash"}) {
    config.attention = name;
    const Json report = Json::parse(model_report(model.path(), config));
    EXPECT_EQ(report.at("model").at("attention"), name);
  }
  config.attention = "fast";
  try {
    model_report(model.path(), config);
    ADD_FAILURE() << "was accepted";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "attention 'fast' is unknown; known: auto, slim, flash");
  }
}

TEST(KvDtypes, TheReportTellsWhatATokenTakesAndHowManyFit) {
  const TinyModel model;
  LlmConfig config = tiny_config();
  const auto plan = [&](const char* kv_dtype) {
    config.kv_dtype = kv_dtype;
    const Json report = Json::parse(model_report(model.path(), config)).at("model");
    EXPECT_EQ(report.at("kv_dtype"), kv_dtype);
    return report.at("memory_plan");
  };
  const Json fp16 = plan("fp16"), int8 = plan("int8"), plain = plan("int8-plain");
  EXPECT_LT(int8.at("kv_bytes_per_token"), fp16.at("kv_bytes_per_token"));
  EXPECT_GT(int8.at("kv_tokens"), fp16.at("kv_tokens"));
  for (const char* key : {"kv_bytes_per_token", "kv_tokens"})
    EXPECT_EQ(int8.at(key), plain.at(key));
}

}  // namespace
}  // namespace lanner
