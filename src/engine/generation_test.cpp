// SPDX-License-Identifier: Apache-2.0
// What one request can ask for, on tiny models: several answers, log-probabilities, constraints on
// tokens, prefix reuse.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <future>
#include <memory>
#include <numeric>
#include <set>
#include <thread>

#include <gtest/gtest.h>

#include "engine/engine.h"
#include "engine/testing/tiny_model.h"
#include "weights/testing/expect_error.h"

namespace lanner {
namespace {

// Counts are taken at the end of a step, which is after its callbacks.
void expect_all_blocks_free(const LLM& llm) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (llm.stats().used_kv_blocks != 0 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(llm.stats().used_kv_blocks, 0);
}

class GenerationTest : public testing::Test {
 protected:
  explicit GenerationTest(const LlmConfig& config = tiny_config())
      : llm_(LLM::load(model_.path(), config)) {}

  Request sampled(int length, int max_tokens, uint64_t seed) {
    Request request = tiny_request(tiny_prompt(length), max_tokens);
    request.sampling.temperature = 1.0;
    request.sampling.seed = seed;
    return request;
  }
  Completion one(const Request& request) { return llm_->generate({request}).front(); }

  // The log-probabilities of every token at every place.
  std::vector<std::vector<double>> all_logprobs(const std::vector<int32_t>& ids) {
    const ModelFiles files = open_model(model_.path());
    ModelRunner runner(files, tiny_config(), {});
    std::vector<std::vector<double>> all;
    runner.logits(ids, 0, [&](const Tensor& rows) {
      for (int64_t i = 0; i < rows.num_rows(); ++i) {
        const float* row = rows.row<float>(i);
        std::vector<double> logprobs(row, row + rows.size(-1));
        const double best = *std::ranges::max_element(logprobs);
        double sum = 0;
        for (const double logit : logprobs) sum += std::exp(logit - best);
        for (double& logit : logprobs) logit -= best + std::log(sum);
        all.push_back(std::move(logprobs));
      }
    });
    return all;
  }

  void expect_logprobs(const PositionLogprobs& actual, const std::vector<double>& expected,
                       int32_t token, size_t top) {
    EXPECT_EQ(actual.token.id, token);
    EXPECT_NEAR(actual.token.logprob, expected[static_cast<size_t>(token)], 1e-4);
    ASSERT_EQ(actual.top.size(), top);
    std::vector<double> sorted = expected;
    std::ranges::sort(sorted, std::greater{});
    for (size_t i = 0; i < top; ++i) {
      EXPECT_NEAR(actual.top[i].logprob, sorted[i], 1e-4);
      EXPECT_NEAR(actual.top[i].logprob, expected[static_cast<size_t>(actual.top[i].id)], 1e-4);
    }
  }

  TinyModel model_;
  std::unique_ptr<LLM> llm_;
};

TEST_F(GenerationTest, SeveralAnswersDifferAndAreThoseOfOtherRuns) {
  Request request = sampled(40, 20, 5);
  request.sampling.n = 4;
  const std::vector<Completion> answers = llm_->generate({request});
  ASSERT_EQ(answers.size(), 4u);
  std::set<std::vector<int32_t>> distinct;
  for (const Completion& answer : answers) {
    EXPECT_EQ(answer.token_ids.size(), 20u);
    EXPECT_EQ(answer.prompt_tokens, 40);
    distinct.insert(answer.token_ids);
  }
  EXPECT_EQ(distinct.size(), 4u);
  request.sampling.n = 1;
  EXPECT_EQ(one(request).token_ids, answers[0].token_ids) << "the first is that of n = 1";
  request.sampling.n = 4;
  std::vector<Request> others = {request};
  for (int i = 0; i < 5; ++i) others.push_back(sampled(10 + i, 30, 100 + static_cast<uint64_t>(i)));
  const std::vector<Completion> together = llm_->generate(others);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(together[i].token_ids, answers[i].token_ids) << i;
}

TEST_F(GenerationTest, BestOfReturnsTheLikeliest) {
  Request request = sampled(20, 12, 9);
  request.sampling.logprobs = 0;
  request.sampling.n = 6;
  std::vector<double> means;
  std::vector<std::vector<int32_t>> ids;
  for (const Completion& answer : llm_->generate({request})) {
    double sum = 0;
    for (const PositionLogprobs& position : answer.logprobs) sum += position.token.logprob;
    means.push_back(sum / static_cast<double>(answer.logprobs.size()));
    ids.push_back(answer.token_ids);
  }
  std::vector<size_t> order(6);
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::sort(order, [&](size_t a, size_t b) { return means[a] > means[b]; });
  request.sampling.n = 2;
  request.sampling.best_of = 6;
  request.sampling.logprobs.reset();
  const std::vector<Completion> best = llm_->generate({request});
  ASSERT_EQ(best.size(), 2u);
  EXPECT_EQ(best[0].token_ids, ids[order[0]]);
  EXPECT_EQ(best[1].token_ids, ids[order[1]]);
  EXPECT_FALSE(best[0].text.empty());
  EXPECT_TRUE(best[0].logprobs.empty()) << "not asked for";
}

TEST_F(GenerationTest, EveryAnswerEndsOnceAndTheLastOutputSaysSo) {
  Request request = sampled(10, 8, 3);
  request.sampling.n = 3;
  std::vector<RequestOutput> outputs;
  std::promise<void> done;
  llm_->submit(request, [&](const RequestOutput& output) {
    outputs.push_back(output);
    if (output.is_last) done.set_value();
  });
  done.get_future().get();
  std::vector<int> ended(3);
  for (size_t i = 0; i < outputs.size(); ++i) {
    EXPECT_EQ(outputs[i].is_last, i + 1 == outputs.size());
    EXPECT_EQ(ended.at(static_cast<size_t>(outputs[i].index)), 0) << "news after the end";
    if (outputs[i].finished()) ++ended[static_cast<size_t>(outputs[i].index)];
  }
  EXPECT_EQ(ended, (std::vector<int>{1, 1, 1}));
}

TEST_F(GenerationTest, AbortEndsAllAnswersAndFreesTheirBlocks) {
  Request request = sampled(10, 1000, 3);
  request.sampling.n = 3;
  std::promise<void> done;
  std::atomic<int> aborted{0};
  bool asked = false;
  RequestId id = 0;
  std::promise<void> submitted;
  auto is_submitted = submitted.get_future().share();
  id = llm_->submit(request, [&, is_submitted](const RequestOutput& output) {
    if (!asked && output.index == 2 && output.output_tokens >= 5 && !output.finished()) {
      asked = true;
      is_submitted.wait();
      llm_->abort(id);
    }
    aborted += output.finish_reason == FinishReason::kAborted ? 1 : 0;
    if (output.is_last) done.set_value();
  });
  submitted.set_value();
  done.get_future().get();
  EXPECT_EQ(aborted, 3);
  EXPECT_EQ(one(tiny_request({7}, 2)).token_ids.size(), 2u);
  expect_all_blocks_free(*llm_);
}

TEST_F(GenerationTest, LogprobsAreThoseOfTheModel) {
  Request request = sampled(30, 12, 17);
  request.sampling.logprobs = 3;
  request.sampling.prompt_logprobs = 2;
  request.sampling.top_k = 5;
  request.sampling.repetition_penalty = 1.3;
  const Completion completion = one(request);
  std::vector<int32_t> ids = tiny_prompt(30);
  ids.insert(ids.end(), completion.token_ids.begin(), completion.token_ids.end());
  const auto expected = all_logprobs(ids);
  ASSERT_EQ(completion.logprobs.size(), 12u);
  for (size_t i = 0; i < 12; ++i) {
    expect_logprobs(completion.logprobs[i], expected[29 + i], ids[30 + i], 3);
  }
  ASSERT_EQ(completion.prompt_logprobs.size(), 30u);
  EXPECT_EQ(completion.prompt_logprobs[0].token.id, ids[0]);
  EXPECT_TRUE(completion.prompt_logprobs[0].top.empty());
  for (size_t i = 1; i < 30; ++i) {
    expect_logprobs(completion.prompt_logprobs[i], expected[i - 1], ids[i], 2);
  }
}

TEST_F(GenerationTest, PromptLogprobsDoNotDependOnChunksAndTheCache) {
  Request request = tiny_request(tiny_prompt(150), 2);
  request.sampling.prompt_logprobs = 0;
  const std::vector<PositionLogprobs> whole = one(request).prompt_logprobs;
  ASSERT_EQ(whole.size(), 150u);
  LlmConfig config = tiny_config();
  config.max_tokens_per_step = 16;
  const auto chunked = LLM::load(model_.path(), config);
  for (int i = 0; i < 2; ++i) {  // the second time it is in the cache
    const Completion completion = chunked->generate({request}).front();
    EXPECT_EQ(completion.cached_tokens, 0);
    ASSERT_EQ(completion.prompt_logprobs.size(), 150u);
    for (size_t t = 0; t < 150; ++t) {
      EXPECT_EQ(completion.prompt_logprobs[t].token.id, whole[t].token.id);
      EXPECT_NEAR(completion.prompt_logprobs[t].token.logprob, whole[t].token.logprob, 1e-4);
    }
  }
}

TEST_F(GenerationTest, AFurtherTurnComputesOnlyWhatIsNew) {
  Request first = tiny_request(tiny_prompt(100), 40);
  const Completion answer = one(first);
  EXPECT_EQ(answer.cached_tokens, 0);
  std::vector<int32_t> ids = tiny_prompt(100);
  ids.insert(ids.end(), answer.token_ids.begin(), answer.token_ids.end());
  const std::vector<int32_t> question = tiny_prompt(10, 77);
  ids.insert(ids.end(), question.begin(), question.end());
  const Request second = tiny_request(ids, 20);
  const int64_t before = llm_->stats().prefill_tokens;
  const Completion reused = one(second);
  EXPECT_EQ(reused.cached_tokens, 128) << "four blocks of 32 of the 139 tokens computed before";
  EXPECT_EQ(llm_->stats().prefill_tokens - before, 150 - 128);

  LlmConfig off = tiny_config();
  off.prefix_cache = false;
  const auto without = LLM::load(model_.path(), off);
  const Completion expected = without->generate({second}).front();
  EXPECT_EQ(reused.token_ids, expected.token_ids);
  EXPECT_EQ(without->generate({second}).front().cached_tokens, 0);
  Request salted = second;
  salted.cache_salt = "somebody else's";
  EXPECT_EQ(one(salted).cached_tokens, 0);
  EXPECT_EQ(one(salted).cached_tokens, 128);
}

TEST(PrefixReuse, TheSecondTurnOfALongChatComputesOnlyTheSuffix) {
  const TinyModel model("llama-mha", {{"max_position_embeddings", 8192}});
  model.folder().write(
      "tokenizer_config.json",
      Json{{"chat_template",
            "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[assistant] "}}
          .dump());
  LlmConfig config = tiny_config();
  config.kv_cache_bytes = 32 << 20;
  const auto llm = LLM::load(model.path(), config);
  ChatRequest chat;
  chat.messages = {{.role = "user", .content = {}}};
  while (chat.messages[0].content.size() < 4000) chat.messages[0].content += "What is it? ";
  chat.sampling.max_tokens = 50;
  chat.sampling.ignore_eos = true;
  chat.sampling.logit_bias = {{.token_id = 40, .bias = 100}};  // text that is one token a character
  const ChatCompletion first = llm->chat(chat).front();
  EXPECT_GE(first.completion.prompt_tokens, 4000);
  EXPECT_EQ(first.completion.cached_tokens, 0);
  chat.messages.push_back(first.message);
  chat.messages.push_back({.role = "user", .content = "And why?"});
  const int64_t before = llm->stats().prefill_tokens;
  const ChatCompletion second = llm->chat(chat).front();
  // Whole blocks of what the first turn computed: prompt and answer without its last token.
  const int computed = first.completion.prompt_tokens + 50 - 1;
  EXPECT_EQ(second.completion.cached_tokens, computed / 32 * 32);
  EXPECT_EQ(llm->stats().prefill_tokens - before,
            second.completion.prompt_tokens - computed / 32 * 32);
  EXPECT_LT(second.completion.prompt_tokens - second.completion.cached_tokens, 80);
}

TEST(PrefixReuse, NeverMixesLengthsThatTurnPositionsOtherwise) {
  const Json longrope = {{"rope_type", "longrope"},
                         {"original_max_position_embeddings", 100},
                         {"short_factor", {1.0, 1.1, 1.0, 1.3, 1.0, 1.0, 1.2, 1.0}},
                         {"long_factor", {1.0, 2.0, 4.0, 8.0, 16.0, 24.0, 32.0, 48.0}}};
  const TinyModel stretched("llama-mha", {{"rope_scaling", longrope}});
  const TinyModel dynamic("llama-mha",
                          {{"rope_scaling", {{"rope_type", "dynamic"}, {"factor", 4.0}}},
                           {"max_position_embeddings", 100}});
  for (const TinyModel* model : {&stretched, &dynamic}) {
    const auto cached = LLM::load(model->path(), tiny_config());
    LlmConfig off = tiny_config();
    off.prefix_cache = false;
    off.ngram_speculation = false;
    const auto plain = LLM::load(model->path(), off);
    // Shorter and longer than 100, and growing past it, all with the same beginning.
    for (const int length : {70, 99, 130, 95, 131, 70, 140}) {
      const Request request = tiny_request(tiny_prompt(length), 12);
      EXPECT_EQ(cached->generate({request}).front().token_ids,
                plain->generate({request}).front().token_ids)
          << length;
    }
    EXPECT_GT(cached->stats().prompt_hit_tokens, 0);
  }
}

TEST_F(GenerationTest, BadWordsBiasAndMinTokensHold) {
  const std::vector<int32_t> plain = one(tiny_request(tiny_prompt(9), 20)).token_ids;
  Request request = tiny_request(tiny_prompt(9), 20);
  request.sampling.bad_word_ids = {{plain[0]}, {plain[3], plain[4]}};
  const std::vector<int32_t> ids = one(request).token_ids;
  EXPECT_EQ(std::ranges::find(ids, plain[0]), ids.end());
  request = tiny_request(tiny_prompt(9), 5);
  request.sampling.logit_bias = {{.token_id = 123, .bias = 100}};
  EXPECT_EQ(one(request).token_ids, std::vector<int32_t>(5, 123));
  request.sampling.stop_token_ids = {123};
  EXPECT_EQ(one(request).token_ids.size(), 1u);
  request.sampling.min_tokens = 3;
  const Completion completion = one(request);
  EXPECT_EQ(completion.token_ids.size(), 4u);
  EXPECT_EQ(completion.token_ids.back(), 123);
  request.sampling.logit_bias = {{.token_id = 320, .bias = 1}};
  expect_error(ErrorCode::kInvalidArgument, {"logit_bias", "320"}, [&] { one(request); });
}

TEST_F(GenerationTest, BadWordsAreTakenAsText) {
  const std::string text = one(tiny_request(tiny_prompt(9), 40)).text;
  std::string letter;
  for (const char c : text) {
    if (std::isalpha(static_cast<unsigned char>(c))) letter = std::string(1, c);
  }
  ASSERT_FALSE(letter.empty());
  Request request = tiny_request(tiny_prompt(9), 40);
  request.sampling.bad_words = {letter};
  const std::vector<int32_t> ids = one(request).token_ids;
  EXPECT_EQ(std::ranges::find(ids, llm_->tokenize(letter, false).front()), ids.end());
}

TEST_F(GenerationTest, StopStringsMayStayInTheTextAndWaitForMinTokens) {
  Request request = tiny_request(tiny_prompt(9), 60);
  const std::string text = one(request).text;
  std::string stop;
  for (size_t at = 6; at + 2 < text.size() && stop.empty(); ++at) {
    const std::string piece = text.substr(at, 2);
    if (std::ranges::all_of(piece, [](char c) { return c > 0; })) stop = piece;
  }
  ASSERT_FALSE(stop.empty());
  request.sampling.stop = {stop};
  const std::string before = one(request).text;
  request.sampling.include_stop = true;
  const Completion with_stop = one(request);
  EXPECT_EQ(with_stop.text, before + stop);
  EXPECT_EQ(with_stop.finish_reason, FinishReason::kStop);
  request.sampling.min_tokens = static_cast<int>(with_stop.token_ids.size());
  EXPECT_GT(one(request).token_ids.size(), with_stop.token_ids.size());
}

// A model bound to a list of tokens, of which some are certain.
class Script final : public TokenConstraint {
 public:
  explicit Script(std::vector<int32_t> ids) : ids_(std::move(ids)) {}
  void prepare() override {}
  std::span<const uint32_t> allowed() override {
    if (at_ >= ids_.size()) throw std::runtime_error("the script is over");
    bits_.assign(10, 0);
    const auto id = static_cast<uint32_t>(ids_[at_]);
    bits_[id / 32] |= 1u << id % 32;
    return bits_;
  }
  void accept(int32_t token) override {
    EXPECT_EQ(token, ids_.at(at_));
    ++at_;
  }
  std::vector<int32_t> forced() override {
    const size_t count = at_ == 2 ? 3 : 0;
    return {ids_.begin() + static_cast<std::ptrdiff_t>(at_),
            ids_.begin() + static_cast<std::ptrdiff_t>(at_ + count)};
  }
  std::unique_ptr<TokenConstraint> clone() const override {
    return std::make_unique<Script>(*this);
  }

 private:
  std::vector<int32_t> ids_;
  size_t at_ = 0;
  std::vector<uint32_t> bits_;
};

TEST(Constraint, BindsASequenceAndItsErrorEndsIt) {
  const TinyModel model;
  const ModelFiles files = open_model(model.path());
  Engine engine(files, tiny_config(), {});
  const std::vector<int32_t> script = {9, 8, 7, 6, 5, 4, 3};
  EngineRequest request;
  request.prompt = tiny_prompt(9);
  request.sampling.ignore_eos = true;
  request.sampling.n = 2;
  request.constraint = std::make_unique<Script>(script);
  std::vector<std::vector<int32_t>> ids(2);
  std::vector<std::string> errors(2);
  std::promise<void> done;
  int left = 2;
  engine.submit(1, std::move(request), [&](const TokenOutput& output) {
    auto& all = ids.at(static_cast<size_t>(output.index));
    all.insert(all.end(), output.token_ids.begin(), output.token_ids.end());
    if (output.finish_reason == FinishReason::kNone) return true;
    errors[static_cast<size_t>(output.index)] = output.error;
    if (--left == 0) done.set_value();
    return true;
  });
  done.get_future().get();
  EXPECT_EQ(ids[0], script);
  EXPECT_EQ(ids[1], script);
  EXPECT_EQ(errors[0], "the script is over");
}

}  // namespace
}  // namespace lanner
