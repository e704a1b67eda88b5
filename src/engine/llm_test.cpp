// SPDX-License-Identifier: Apache-2.0
// The public face on a tiny model: text, ends of requests, wrong values.
#include "lanner/llm.h"

#include <algorithm>
#include <fstream>
#include <future>
#include <limits>
#include <memory>
#include <set>

#include <gtest/gtest.h>
#include <unistd.h>

#include "engine/testing/tiny_model.h"
#include "weights/testing/expect_error.h"

namespace lanner {
namespace {

const TinyModel& model() {
  static const TinyModel model;
  return model;
}

std::unique_ptr<LLM> load(const LlmConfig& config = tiny_config()) {
  return LLM::load(model().path(), config);
}

// A prefix of whole characters.
bool is_utf8(const std::string& text) {
  try {
    static_cast<void>(Json(text).dump());
    return true;
  } catch (const Json::exception&) {
    return false;
  }
}

TEST(Llm, StreamedOutputsConcatenateToTheText) {
  const auto llm = load();
  const Request request = tiny_request(tiny_prompt(9), 60);
  std::vector<RequestOutput> outputs;
  std::promise<void> done;
  const RequestId id = llm->submit(request, [&](const RequestOutput& output) {
    outputs.push_back(output);
    if (output.finished()) done.set_value();
  });
  done.get_future().get();

  std::string text;
  std::vector<int32_t> ids;
  for (size_t i = 0; i < outputs.size(); ++i) {
    EXPECT_EQ(outputs[i].id, id);
    EXPECT_EQ(outputs[i].prompt_tokens, 9);
    EXPECT_EQ(outputs[i].finished(), i + 1 == outputs.size());
    EXPECT_TRUE(is_utf8(outputs[i].text)) << "output " << i;
    text += outputs[i].text;
    ids.insert(ids.end(), outputs[i].token_ids.begin(), outputs[i].token_ids.end());
    EXPECT_EQ(outputs[i].output_tokens, static_cast<int>(ids.size()));
  }
  EXPECT_EQ(outputs.back().finish_reason, FinishReason::kLength);
  ASSERT_EQ(ids.size(), 60u);
  EXPECT_EQ(text, llm->detokenize(ids));
  EXPECT_NE(text.find("\xEF\xBF\xBD"), std::string::npos) << "the test wants broken characters too";
  EXPECT_EQ(llm->generate({request}).front().text, text);
}

TEST(Llm, StopStringsCutTheTextExactly) {
  const auto llm = load();
  Request request = tiny_request(tiny_prompt(9), 60);
  const std::string text = llm->generate({request}).front().text;
  // Three bytes of ASCII from the middle: across token borders, wherever they are.
  int tried = 0;
  for (size_t at = 4; at + 3 < text.size() && tried < 8; at += 5) {
    const std::string stop = text.substr(at, 3);
    if (!std::all_of(stop.begin(), stop.end(), [](char c) { return c > 0; })) continue;
    ++tried;
    request.sampling.stop = {"never to be seen", stop};
    const Completion completion = llm->generate({request}).front();
    EXPECT_EQ(completion.text, text.substr(0, text.find(stop))) << "stop '" << stop << "'";
    EXPECT_EQ(completion.finish_reason, FinishReason::kStop);
    EXPECT_LT(completion.token_ids.size(), 60u);
  }
  EXPECT_EQ(tried, 8);
}

TEST(Llm, StopTokensEndTheSequence) {
  const auto llm = load();
  Request request = tiny_request(tiny_prompt(9), 20);
  const std::vector<int32_t> ids = llm->generate({request}).front().token_ids;
  request.sampling.stop_token_ids = {319, ids[5], 0};
  const Completion completion = llm->generate({request}).front();
  const auto first = std::find(ids.begin(), ids.end(), ids[5]) + 1;
  EXPECT_EQ(completion.token_ids, std::vector<int32_t>(ids.begin(), first));
  EXPECT_EQ(completion.finish_reason, FinishReason::kStop);
}

TEST(Llm, ModelsEndTokenEndsTheSequenceUnlessIgnored) {
  const std::vector<int32_t> ids =
      load()->generate({tiny_request(tiny_prompt(9), 20)}).front().token_ids;
  const TinyModel other("llama-mha", {{"eos_token_id", {2, ids[3]}}});
  const auto llm = LLM::load(other.path(), tiny_config());
  Request request = tiny_request(tiny_prompt(9), 20);
  EXPECT_EQ(llm->generate({request}).front().token_ids, ids);
  request.sampling.ignore_eos = false;
  const Completion completion = llm->generate({request}).front();
  EXPECT_EQ(completion.token_ids.back(), ids[3]);
  EXPECT_LE(completion.token_ids.size(), 4u);
  EXPECT_EQ(completion.finish_reason, FinishReason::kStop);
}

TEST(Llm, TextAndTokenPromptsOfAnyLengthWork) {
  const auto llm = load();
  const Completion one = llm->generate({tiny_request({7}, 5)}).front();
  EXPECT_EQ(one.token_ids.size(), 5u);
  EXPECT_EQ(one.prompt_tokens, 1);
  Request text{.prompt = std::string("hello"), .sampling = {}};
  text.sampling.max_tokens = 5;
  text.sampling.ignore_eos = true;
  const Completion by_text = llm->generate({text}).front();
  EXPECT_EQ(by_text.token_ids,
            llm->generate({tiny_request(llm->tokenize("hello"), 5)}).front().token_ids);
  EXPECT_TRUE(llm->generate({}).empty());
}

TEST(Llm, ContextIsUsedToItsLastToken) {
  LlmConfig config = tiny_config();
  config.max_context = 50;
  const auto llm = load(config);
  EXPECT_EQ(llm->max_context(), 50);
  Request request{.prompt = tiny_prompt(49), .sampling = {}};
  request.sampling.ignore_eos = true;
  Completion completion = llm->generate({request}).front();
  EXPECT_EQ(completion.token_ids.size(), 1u);
  EXPECT_EQ(completion.finish_reason, FinishReason::kLength);
  request.prompt = tiny_prompt(20);
  EXPECT_EQ(llm->generate({request}).front().token_ids.size(), 30u);
  request.prompt = tiny_prompt(50);
  expect_error(ErrorCode::kInvalidArgument, {"50 tokens", "holds 50"},
               [&] { llm->generate({request}); });
}

TEST(Llm, TruncatesAPromptOnlyWhenAskedTo) {
  LlmConfig config = tiny_config();
  config.max_context = 50;
  const auto llm = load(config);
  Request request = tiny_request(tiny_prompt(60), 10);
  request.truncate_prompt = true;
  const std::vector<int32_t> all = tiny_prompt(60);
  const Completion completion = llm->generate({request}).front();
  EXPECT_EQ(completion.prompt_tokens, 40);
  EXPECT_EQ(completion.truncated_tokens, 20);
  const Request rest = tiny_request({all.begin() + 20, all.end()}, 10);
  EXPECT_EQ(completion.token_ids, llm->generate({rest}).front().token_ids);
  request.sampling.max_tokens.reset();
  EXPECT_EQ(llm->generate({request}).front().prompt_tokens, 38) << "a quarter for the answer";
  request.sampling.max_tokens = 1000;
  EXPECT_EQ(llm->generate({request}).front().prompt_tokens, 25) << "at most half";
  request.prompt = tiny_prompt(20);
  EXPECT_EQ(llm->generate({request}).front().truncated_tokens, 0);
}

TEST(Llm, RefusesPromptsAndParametersByName) {
  const auto llm = load();
  const auto refuse = [&](const Request& request, const std::vector<std::string>& words) {
    expect_error(ErrorCode::kInvalidArgument, words, [&] { llm->generate({request}); });
  };
  refuse(tiny_request({}, 5), {"no tokens"});
  refuse(tiny_request({5, 320}, 5), {"320", "vocabulary of 320"});
  refuse(tiny_request({-1}, 5), {"-1"});
  Request request = tiny_request({5}, 5);
  request.sampling.stop_token_ids = {320};
  refuse(request, {"stop token id 320"});
  request = tiny_request({5}, 0);
  refuse(request, {"max_tokens"});
  request = tiny_request({5}, 5);
  request.sampling.temperature = std::numeric_limits<double>::quiet_NaN();
  refuse(request, {"temperature"});
  // One bad request among good ones: none of them is left behind.
  expect_error(ErrorCode::kInvalidArgument, {"no tokens"},
               [&] { llm->generate({tiny_request(tiny_prompt(9), 1000), tiny_request({}, 5)}); });
  EXPECT_EQ(llm->generate({tiny_request({7}, 5)}).front().token_ids.size(), 5u);
}

TEST(Llm, SameSeedGivesTheSameTextAloneAndInABatch) {
  const auto llm = load();
  std::vector<Request> batch;
  for (int i = 0; i < 6; ++i) {
    batch.push_back(tiny_request(tiny_prompt(5 + i * 9, i), 24));
    batch.back().sampling.temperature = 1.0;
    batch.back().sampling.seed = 100 + i;
  }
  const std::vector<Completion> together = llm->generate(batch);
  for (size_t i = 0; i < batch.size(); ++i) {
    EXPECT_EQ(llm->generate({batch[i]}).front().token_ids, together[i].token_ids) << i;
  }
  Request other = batch[0];
  other.sampling.seed = 7;
  EXPECT_NE(llm->generate({other}).front().token_ids, together[0].token_ids);
}

TEST(Llm, PenaltiesKeepTokensFromComingAgain) {
  const auto llm = load();
  Request request = tiny_request(tiny_prompt(9), 40);
  const std::vector<int32_t> plain = llm->generate({request}).front().token_ids;
  EXPECT_LT(std::set<int32_t>(plain.begin(), plain.end()).size(), plain.size());
  request.sampling.repetition_penalty = 100.0;
  request.sampling.presence_penalty = 2.0;
  request.sampling.frequency_penalty = 2.0;
  const std::vector<int32_t> ids = llm->generate({request}).front().token_ids;
  EXPECT_EQ(std::set<int32_t>(ids.begin(), ids.end()).size(), ids.size());
}

TEST(Llm, RefusesBadOptionsByName) {
  const auto refuse = [](void (*change)(LlmConfig&), const std::vector<std::string>& words) {
    LlmConfig config = tiny_config();
    change(config);
    expect_error(ErrorCode::kInvalidArgument, words, [&] { load(config); });
  };
  refuse([](LlmConfig& c) { c.dtype = "fp64"; }, {"dtype", "fp64", "bf16"});
  refuse([](LlmConfig& c) { c.kv_dtype = "int3"; }, {"kv_dtype", "int3", "fp16"});
  refuse([](LlmConfig& c) { c.threads = -1; }, {"threads", "-1"});
  refuse([](LlmConfig& c) { c.max_context = -5; }, {"max_context", "-5"});
  refuse([](LlmConfig& c) { c.max_context = 2049; }, {"max_context", "2049", "2048"});
  refuse([](LlmConfig& c) { c.kv_cache_bytes = -1; }, {"kv_cache_bytes", "-1"});
  refuse([](LlmConfig& c) { c.max_tokens_per_step = 0; }, {"max_tokens_per_step"});
  refuse([](LlmConfig& c) { c.max_sequences = 0; }, {"max_sequences"});
}

int64_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  int64_t pages = 0;
  file >> pages >> pages;
  return pages * sysconf(_SC_PAGESIZE);
}

TEST(Llm, KvCacheTakesMemoryOnlyAsItIsUsed) {
  LlmConfig config = tiny_config();
  config.kv_cache_bytes = int64_t{512} << 20;
  config.max_sequences = 1000;
  const int64_t before = resident_bytes();
  const auto llm = load(config);
  EXPECT_EQ(llm->generate({tiny_request(tiny_prompt(9), 5)}).front().token_ids.size(), 5u);
  EXPECT_GT(llm->stats().kv_cache_bytes, int64_t{500} << 20);
  EXPECT_LT(resident_bytes() - before, int64_t{128} << 20);
}

TEST(Llm, ACallbackCannotWaitForAnotherRequest) {
  const auto llm = load();
  std::promise<std::string> message;
  llm->submit(tiny_request({7}, 1), [&](const RequestOutput&) {
    try {
      llm->generate({tiny_request({7}, 1)});
      message.set_value("it waited");
    } catch (const Error& e) {
      message.set_value(e.what());
    }
  });
  EXPECT_NE(message.get_future().get().find("submit()"), std::string::npos);
}

TEST(Llm, ProposesWhatTheModelsFilesSay) {
  const TinyModel tiny;
  tiny.folder().write("generation_config.json",
                      R"({"do_sample": true, "temperature": 0.6, "top_p": 0.9, "top_k": 40,
                          "repetition_penalty": 1.1, "eos_token_id": [2, 7]})");
  SamplingParams params = LLM::load(tiny.path(), tiny_config())->default_sampling_params();
  EXPECT_EQ(params.temperature, 0.6);
  EXPECT_EQ(params.top_p, 0.9);
  EXPECT_EQ(params.top_k, 40);
  EXPECT_EQ(params.repetition_penalty, 1.1);
  params.validate();
  tiny.folder().write("generation_config.json",
                      R"({"do_sample": false, "temperature": 0.6, "repetition_penalty": 1.1})");
  params = LLM::load(tiny.path(), tiny_config())->default_sampling_params();
  EXPECT_EQ(params.temperature, 0.0) << "greedy";
  EXPECT_EQ(params.repetition_penalty, 1.1) << "which counts there too";
}

TEST(Llm, ReportsProgressToTheEndAndStopsWhereItThrows) {
  std::vector<std::pair<int64_t, int64_t>> calls;
  LLM::load(model().path(), tiny_config(), [&](const char* stage, int64_t done, int64_t total) {
    EXPECT_STREQ(stage, "weights");
    calls.emplace_back(done, total);
  });
  ASSERT_GT(calls.size(), 3u);
  EXPECT_TRUE(std::is_sorted(calls.begin(), calls.end()));
  EXPECT_EQ(calls.back().first, calls.back().second);
  EXPECT_THROW(LLM::load(model().path(), tiny_config(),
                         [](const char*, int64_t, int64_t) { throw std::logic_error("enough"); }),
               std::logic_error);
}

TEST(Llm, SaysWhichContextWasPlanned) {
  LlmConfig config = tiny_config();
  config.max_context = 100;
  const auto llm = load(config);
  const Json report = Json::parse(llm->report()).at("model");
  EXPECT_EQ(report.at("model_max_context"), 2048);
  EXPECT_EQ(report.at("memory_plan").at("max_context"), 100);
  // The plan made without the weights agrees with what was packed.
  const int64_t planned = report.at("memory_plan").at("weight_bytes");
  const int64_t packed = report.at("loaded").at("weight_bytes");
  EXPECT_GE(planned, packed);
  EXPECT_LT(planned, packed + 8192) << "norms are not packed";
  const Json beforehand = Json::parse(model_report(model().path(), config)).at("model");
  EXPECT_EQ(beforehand.at("memory_plan").at("weight_bytes"), planned);
}

}  // namespace
}  // namespace lanner
