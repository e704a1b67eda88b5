// SPDX-License-Identifier: Apache-2.0
#include <filesystem>

#include <gtest/gtest.h>

#include "base/json.h"
#include "engine/testing/tiny_model.h"
#include "lanner/llm.h"
#include "weights/testing/expect_error.h"

namespace lanner {
namespace {

LlmConfig random_weights(const char* dtype = "auto") {
  LlmConfig config;
  config.random_weights = true;
  config.dtype = dtype;
  config.threads = 1;
  return config;
}

Request request_of(std::vector<int32_t> prompt, int max_tokens) {
  Request request;
  request.prompt = std::move(prompt);
  request.sampling.max_tokens = max_tokens;
  request.sampling.ignore_eos = true;
  return request;
}

TEST(RandomWeights, AnyConfigRunsWithoutAFileOfWeights) {
  int configs = 0;
  for (const auto& entry : std::filesystem::directory_iterator(golden_folder(""))) {
    const auto config_path = entry.path() / "config.json";
    if (!std::filesystem::exists(config_path)) continue;
    SCOPED_TRACE(config_path.string());
    ++configs;
    const auto llm = LLM::load(config_path.string(), random_weights());
    // A prompt that the family's reference ran: a prefix-LM refuses one without its marks.
    const Json golden = read_json_file((entry.path() / "golden.json").string());
    const auto prompt = golden.at("prompts").at(0).at("ids").get<std::vector<int32_t>>();
    const auto completions = llm->generate({request_of(prompt, 4)});
    EXPECT_EQ(completions.at(0).token_ids.size(), 4u);
    EXPECT_EQ(parse_json(llm->report(), "report")["model"]["format"], "random");
  }
  EXPECT_GT(configs, 3);
}

TEST(RandomWeights, AreTheSameInEveryRun) {
  const std::string config = golden_folder("llama-tied") + "/config.json";
  const auto one = LLM::load(config, random_weights())->generate({request_of({1, 2, 3}, 8)});
  const auto two = LLM::load(config, random_weights())->generate({request_of({1, 2, 3}, 8)});
  EXPECT_EQ(one.at(0).token_ids, two.at(0).token_ids);
}

TEST(ModelBenchmark, MeasuresEveryPointThatItIsAskedFor) {
  ModelBenchmark benchmark;
  benchmark.prompts = {5, 20};
  benchmark.depths = {0, 70};
  benchmark.batches = {1, 3};
  benchmark.generate = 4;
  benchmark.repeat = 2;
  std::vector<std::string> stages;
  const Json report = parse_json(benchmark_model(golden_folder("llama-tied") + "/config.json",
                                                 random_weights("int8"), benchmark,
                                                 [&](const char* stage, int64_t, int64_t) {
                                                   if (stages.empty() || stages.back() != stage)
                                                     stages.emplace_back(stage);
                                                 }),
                                 "report");
  EXPECT_EQ(stages,
            (std::vector<std::string>{"weights", "prefill of 5 tokens", "prefill of 20 tokens",
                                      "decode at depth 0, batch 1", "decode at depth 0, batch 3",
                                      "decode at depth 70, batch 1", "decode at depth 70, batch 3",
                                      "the machine's limits"}));
  EXPECT_EQ(report["model"]["dtype"], "int8");
  EXPECT_EQ(report["prefill"].size(), 2u);
  ASSERT_EQ(report["decode"].size(), 4u);
  for (const Json& row : report["decode"]) {
    EXPECT_GT(row["tokens_per_s"].get<double>(), 0);
    EXPECT_GT(row["share_of_bandwidth"].get<double>(), 0);
    EXPECT_NEAR(row["times_roofline"].get<double>(),
                row["roofline_tokens_per_s"].get<double>() / row["tokens_per_s"].get<double>(),
                1e-3 * row["times_roofline"].get<double>());
  }
  EXPECT_GT(report["peak_rss_bytes"].get<int64_t>(), 0);
}

TEST(ModelBenchmark, RefusesWhatItCannotRun) {
  const std::string config = golden_folder("llama-tied") + "/config.json";
  ModelBenchmark benchmark;
  benchmark.generate = 1;
  expect_error(ErrorCode::kInvalidArgument, {"generate", "1"},
               [&] { benchmark_model(config, random_weights(), benchmark); });
  benchmark.generate = 2;
  benchmark.batches = {};
  expect_error(ErrorCode::kInvalidArgument, {"batch"},
               [&] { benchmark_model(config, random_weights(), benchmark); });
  benchmark.batches = {1};
  benchmark.depths = {100000000};
  expect_error(ErrorCode::kInvalidArgument, {"context", "2048"},
               [&] { benchmark_model(config, random_weights(), benchmark); });
  LlmConfig small = random_weights();
  small.max_context = 16;
  benchmark.depths = {32};
  expect_error(ErrorCode::kInvalidArgument, {"max_context is 16", "needs"},
               [&] { benchmark_model(config, small, benchmark); });
}

}  // namespace
}  // namespace lanner
