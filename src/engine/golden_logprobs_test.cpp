// SPDX-License-Identifier: Apache-2.0
// Log-probabilities that requests report, against the reference's logits.
#include <algorithm>
#include <cmath>
#include <memory>

#include <gtest/gtest.h>

#include "engine/testing/tiny_model.h"
#include "weights/safetensors.h"

namespace lanner {
namespace {

// The reference's own noise is 4e-5 (tests/golden/README.md).
constexpr double kTolerance = 2e-4;

std::vector<double> log_softmax(const float* logits, int64_t count) {
  std::vector<double> result(logits, logits + count);
  const double best = *std::ranges::max_element(result);
  double sum = 0;
  for (const double logit : result) sum += std::exp(logit - best);
  for (double& logit : result) logit -= best + std::log(sum);
  return result;
}

void expect_scores(const PositionLogprobs& actual, const std::vector<double>& expected, int32_t id,
                   size_t top) {
  EXPECT_EQ(actual.token.id, id);
  EXPECT_NEAR(actual.token.logprob, expected[static_cast<size_t>(id)], kTolerance);
  std::vector<double> best = expected;
  std::ranges::sort(best, std::greater{});
  ASSERT_EQ(actual.top.size(), top);
  for (size_t i = 0; i < top; ++i) {
    EXPECT_NEAR(actual.top[i].logprob, best[i], kTolerance) << i;
    EXPECT_NEAR(actual.top[i].logprob, expected[static_cast<size_t>(actual.top[i].id)], kTolerance);
  }
}

class GoldenLogprobs : public testing::TestWithParam<const char*> {};

TEST_P(GoldenLogprobs, OfPromptsAndFirstTokensAreTheReferences) {
  const std::string folder = golden_folder(GetParam());
  const auto reference = open_safetensors_file(folder + "/golden.safetensors");
  LlmConfig config = tiny_config();
  config.max_tokens_per_step = 16;  // in chunks
  const auto llm = LLM::load(folder, config);
  const Json golden = read_json_file(folder + "/golden.json");
  for (const Json& prompt : golden.at("prompts")) {
    const CheckpointTensor logits =
        reference->get(prompt.at("name").get<std::string>() + ".logits");
    const auto ids = prompt.at("ids").get<std::vector<int32_t>>();
    const auto row = [&](int64_t i) {
      return log_softmax(logits.view.row<float>(i), logits.view.size(-1));
    };
    Request request = tiny_request(ids, 1);
    request.sampling.logprobs = 5;
    request.sampling.temperature = 1.3;  // changes what is drawn, and not what is reported
    request.sampling.seed = 11;
    request.sampling.presence_penalty = 1;
    if (prompt.at("logits") == "full") request.sampling.prompt_logprobs = 3;
    const Completion answer = llm->generate({request}).front();
    ASSERT_EQ(answer.logprobs.size(), 1u);
    expect_scores(answer.logprobs[0], row(logits.view.num_rows() - 1), answer.token_ids[0], 5);
    if (prompt.at("logits") != "full") continue;
    ASSERT_EQ(answer.prompt_logprobs.size(), ids.size());
    for (size_t i = 1; i < ids.size(); ++i) {
      expect_scores(answer.prompt_logprobs[i], row(static_cast<int64_t>(i) - 1), ids[i], 3);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenLogprobs,
                         testing::Values("llama-mha", "llama-tied", "qwen3", "gpt2", "gemma2",
                                         "glm4", "mixtral", "deepseek_v2"));

}  // namespace
}  // namespace lanner
