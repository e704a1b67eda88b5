// SPDX-License-Identifier: Apache-2.0
// A draft model must not change what is generated, and its cache must hold what it should wherever
// blocks go: a model that proposes for itself is always right, as long as that is so.
#include <cmath>
#include <map>
#include <memory>
#include <set>

#include <gtest/gtest.h>

#include "engine/testing/tiny_model.h"
#include "weights/testing/expect_error.h"

namespace lanner {
namespace {

using Ids = std::vector<int32_t>;

LlmConfig with_draft(const std::string& path) {
  LlmConfig config = tiny_config();
  config.ngram_speculation = false;
  config.draft_model = path;
  config.draft_dtype = "fp32";
  config.draft_tokens = 4;
  return config;
}

class DraftModelTest : public testing::Test {
 protected:
  DraftModelTest() {
    // Forms need a decoder that tells the bytes of each token.
    Json tokenizer = Json::parse(tiny_tokenizer_json());
    Json& steps = tokenizer.at("decoder").at("decoders");
    steps.insert(steps.begin(),
                 Json{{"type", "Replace"}, {"pattern", {{"String", "\u2581"}}}, {"content", " "}});
    for (const TinyModel* model : {&model_, &draft_}) {
      model->folder().write("tokenizer.json", tokenizer.dump());
    }
    LlmConfig config = tiny_config();
    config.ngram_speculation = false;
    plain_ = LLM::load(model_.path(), config);
    other_ = LLM::load(model_.path(), with_draft(draft_.path()));
    itself_ = LLM::load(model_.path(), with_draft(model_.path()));
  }

  static std::vector<Ids> tokens_of(LLM& llm, const std::vector<Request>& requests) {
    std::vector<Ids> ids;
    for (const Completion& completion : llm.generate(requests)) ids.push_back(completion.token_ids);
    return ids;
  }
  // With both draft models the same tokens as without.
  void expect_same(const std::vector<Request>& requests) {
    const std::vector<Ids> expected = tokens_of(*plain_, requests);
    EXPECT_EQ(tokens_of(*other_, requests), expected);
    EXPECT_EQ(tokens_of(*itself_, requests), expected);
  }
  static double acceptance(const LLM& llm) {
    const LlmStats stats = llm.stats();
    return static_cast<double>(stats.accepted_tokens) / static_cast<double>(stats.draft_tokens);
  }

  TinyModel model_;
  TinyModel draft_{"llama-tied"};
  std::unique_ptr<LLM> plain_;
  std::unique_ptr<LLM> other_;
  std::unique_ptr<LLM> itself_;
};

TEST_F(DraftModelTest, GreedyTokensStayTheSame) {
  for (int seed = 0; seed < 6; ++seed) {
    expect_same({tiny_request(tiny_prompt(5 + 30 * seed, seed), 60)});
  }
  EXPECT_GT(other_->stats().draft_tokens, 0);
  EXPECT_LT(acceptance(*other_), 0.5) << "another model is often wrong";
  EXPECT_GT(acceptance(*itself_), 0.99) << "the same model is right";
  EXPECT_LT(itself_->stats().steps, plain_->stats().steps / 3);
  EXPECT_GT(itself_->stats().draft_seconds, 0);
}

TEST_F(DraftModelTest, TokensOfASeedStayTheSame) {
  for (uint64_t seed = 0; seed < 6; ++seed) {
    Request request = tiny_request(tiny_prompt(20, static_cast<int>(seed)), 50);
    request.sampling.temperature = 0.8;
    request.sampling.top_p = 0.9;
    request.sampling.repetition_penalty = 1.2;
    request.sampling.frequency_penalty = 0.3;
    request.sampling.bad_word_ids = {{40}, {41, 42}};
    request.sampling.seed = seed;
    expect_same({request});
  }
  EXPECT_GT(acceptance(*itself_), 0.99) << "drafts are drawn with the numbers of their tokens";
}

TEST_F(DraftModelTest, ItsCacheFollowsBatchesSharedPrefixesAndForks) {
  std::vector<Request> requests;
  for (int i = 0; i < 6; ++i) {
    Ids prompt = tiny_prompt(70);  // the first two blocks are everybody's
    for (const int32_t token : tiny_prompt(7 * i + 1, 50 + i)) prompt.push_back(token);
    requests.push_back(tiny_request(prompt, 40 + 3 * i));
  }
  requests[2].sampling.n = 3;
  requests[2].sampling.temperature = 1;
  requests[2].sampling.seed = 7;
  for (int round = 0; round < 2; ++round) {
    expect_same(requests);
    for (const Request& request : requests) expect_same({request});
  }
  EXPECT_GT(itself_->stats().prompt_hit_tokens, 0);
  EXPECT_GT(acceptance(*itself_), 0.99);
}

TEST_F(DraftModelTest, ItsCacheFollowsSequencesThatAreThrownOut) {
  LlmConfig small = with_draft(model_.path());
  small.max_context = 256;
  small.kv_cache_bytes = 1200 << 10;
  const auto itself = LLM::load(model_.path(), small);
  std::vector<Request> requests;
  for (int i = 0; i < 8; ++i) requests.push_back(tiny_request(tiny_prompt(30 + i, i), 90));
  EXPECT_EQ(tokens_of(*itself, requests), tokens_of(*plain_, requests));
  EXPECT_GT(itself->stats().preemptions, 0) << "nothing was put to the test";
  EXPECT_GT(acceptance(*itself), 0.99);
}

TEST_F(DraftModelTest, WorksWithFormsStopsAndLogprobs) {
  Request request{.prompt = tiny_prompt(20), .sampling = {}};
  request.sampling.max_tokens = 60;
  request.sampling.structured.kind = StructuredOutput::Kind::kRegex;
  request.sampling.structured.source = "[a-c]{10}( [0-9]{3}){5}";
  for (LLM* llm : {other_.get(), itself_.get()}) {
    EXPECT_EQ(llm->generate({request}).front().text, plain_->generate({request}).front().text);
  }
  EXPECT_GT(acceptance(*itself_), 0.9) << "drafts keep to the form";
  Request stopped = tiny_request(tiny_prompt(20), 60);
  const Ids all = plain_->generate({stopped}).front().token_ids;
  stopped.sampling.stop_token_ids = {all[17]};
  stopped.sampling.logprobs = 2;
  const Completion expected = plain_->generate({stopped}).front();
  for (LLM* llm : {other_.get(), itself_.get()}) {
    const Completion actual = llm->generate({stopped}).front();
    EXPECT_EQ(actual.token_ids, expected.token_ids);
    EXPECT_EQ(actual.finish_reason, FinishReason::kStop);
    ASSERT_EQ(actual.logprobs.size(), expected.logprobs.size());
    for (size_t i = 0; i < expected.logprobs.size(); ++i) {
      EXPECT_NEAR(actual.logprobs[i].token.logprob, expected.logprobs[i].token.logprob, 1e-4);
    }
  }
}

TEST_F(DraftModelTest, BeamsEmbeddingsAndNgramsGoOnBesideIt) {
  LlmConfig config = with_draft(draft_.path());
  config.ngram_speculation = true;
  const auto both = LLM::load(model_.path(), config);
  const Ids once = tiny_prompt(12);
  Ids repeating = once;
  for (int i = 0; i < 3; ++i) repeating.insert(repeating.end(), once.begin(), once.end());
  Request beams = tiny_request(tiny_prompt(15), 20);
  beams.sampling.beam_width = 3;
  const std::vector<Request> requests = {tiny_request(repeating, 80), beams,
                                         tiny_request(tiny_prompt(9), 50)};
  EXPECT_EQ(tokens_of(*both, requests), tokens_of(*plain_, requests));
  EXPECT_EQ(both->embed({{.input = tiny_prompt(40)}}).front().values,
            plain_->embed({{.input = tiny_prompt(40)}}).front().values);
}

// Pearson's test of two tokens in a row, drawn without a seed: with drafts that are often wrong,
// and without drafts.
TEST_F(DraftModelTest, WithoutASeedTheDistributionStaysTheSame) {
  constexpr int kDraws = 1500;
  using Pair = std::pair<int32_t, int32_t>;
  Request request = tiny_request(tiny_prompt(10), 6);
  request.sampling.temperature = 1.5;
  for (const int32_t id : {10, 11, 12, 13}) {
    request.sampling.logit_bias.push_back({.token_id = id, .bias = 60});
  }
  const auto draw = [&](LLM& llm) {
    std::map<Pair, int> counts;
    const std::vector<Request> requests(10, request);
    for (int i = 0; i < kDraws; i += 10) {
      for (const Completion& answer : llm.generate(requests)) {
        ++counts[{answer.token_ids[4], answer.token_ids[5]}];
      }
    }
    return counts;
  };
  const auto expected = draw(*plain_);
  const auto actual = draw(*other_);
  EXPECT_GT(other_->stats().accepted_tokens, kDraws);
  EXPECT_LT(acceptance(*other_), 0.95) << "nothing was put to the test";
  std::map<Pair, std::pair<double, double>> both;
  for (const auto& [pair, count] : expected) both[pair].first = count;
  for (const auto& [pair, count] : actual) both[pair].second = count;
  double chi_square = 0;
  int degrees = -1;
  for (const auto& [pair, counts] : both) {
    const double sum = counts.first + counts.second;
    if (sum < 10) continue;
    chi_square += (counts.first - counts.second) * (counts.first - counts.second) / sum;
    ++degrees;
  }
  EXPECT_GE(degrees, 8);
  EXPECT_LT(chi_square, degrees + 3.9 * std::sqrt(2.0 * degrees) + 8);
}

TEST_F(DraftModelTest, TheMemoryPlanHoldsBoth) {
  const Json plain = Json::parse(model_report(model_.path(), tiny_config())).at("model");
  LlmConfig config = with_draft(draft_.path());
  const Json both = Json::parse(model_report(model_.path(), config)).at("model");
  const auto of = [](const Json& report, const char* key) {
    return report.at("memory_plan").at(key).get<int64_t>();
  };
  EXPECT_EQ(of(both, "weight_bytes"),
            of(plain, "weight_bytes") + both.at("draft_model").at("weight_bytes").get<int64_t>());
  EXPECT_GT(of(both, "kv_bytes_per_token"), of(plain, "kv_bytes_per_token"));
  EXPECT_LT(of(both, "kv_tokens"), of(plain, "kv_tokens"));
  EXPECT_LE(of(both, "kv_cache_bytes"), config.kv_cache_bytes);
  EXPECT_FALSE(plain.contains("draft_model"));
}

TEST_F(DraftModelTest, RefusesWhatCannotPropose) {
  Json tokenizer = Json::parse(tiny_tokenizer_json());
  Json& vocab = tokenizer.at("model").at("vocab");
  std::string renamed;
  for (const auto& [token, id] : vocab.items()) {
    if (id == 200) renamed = token;
  }
  vocab.erase(renamed);
  vocab["another"] = 200;
  draft_.folder().write("tokenizer.json", tokenizer.dump());
  expect_error(ErrorCode::kInvalidArgument, {"draft_model", "token 200", "another", "vocabulary"},
               [&] { LLM::load(model_.path(), with_draft(draft_.path())); });
  expect_error(ErrorCode::kNotFound, {"no/such/model"},
               [&] { LLM::load(model_.path(), with_draft("no/such/model")); });
  LlmConfig config = with_draft(model_.path());
  config.draft_tokens = 17;
  expect_error(ErrorCode::kInvalidArgument, {"draft_tokens", "17"},
               [&] { LLM::load(model_.path(), config); });
  config = with_draft(model_.path());
  config.draft_dtype = "int3";
  expect_error(ErrorCode::kInvalidArgument, {"draft_dtype", "int3"},
               [&] { LLM::load(model_.path(), config); });
  // Without tokenizers the sizes must be the same.
  expect_error(ErrorCode::kInvalidArgument, {"draft_model", "304", "320"},
               [&] { LLM::load(golden_folder("llama-mha"), with_draft(golden_folder("qwen3"))); });
}

}  // namespace
}  // namespace lanner
