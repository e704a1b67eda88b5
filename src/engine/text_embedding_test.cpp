// SPDX-License-Identifier: Apache-2.0
// Embeddings on tiny models. Output weights are linear, so the reference's logits tell what the
// hidden states are: W times a pooled vector is the pooled logits.
#include <cmath>
#include <future>
#include <memory>
#include <numeric>
#include <string>

#include <gtest/gtest.h>

#include "engine/testing/tiny_model.h"
#include "weights/safetensors.h"
#include "weights/testing/expect_error.h"

namespace lanner {
namespace {

using Ids = std::vector<int32_t>;

EmbeddingRequest request_for(Ids ids, Pooling pooling, bool normalized = true) {
  return {.input = std::move(ids), .pooling = pooling, .normalized = normalized};
}

double length_of(const std::vector<float>& values) {
  return std::sqrt(std::inner_product(values.begin(), values.end(), values.begin(), 0.0));
}

void expect_near(const std::vector<float>& actual, const std::vector<float>& expected,
                 const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  for (size_t i = 0; i < actual.size(); ++i) {
    ASSERT_NEAR(actual[i], expected[i], 1e-4) << what << ", number " << i;
  }
}

// matrix [rows, columns] fp32 times a vector.
std::vector<float> product(const Tensor& matrix, const std::vector<float>& vector) {
  std::vector<float> result;
  for (int64_t row = 0; row < matrix.num_rows(); ++row) {
    const float* values = matrix.row<float>(row);
    result.push_back(
        static_cast<float>(std::inner_product(vector.begin(), vector.end(), values, 0.0)));
  }
  return result;
}

// What pooling makes of the logits [positions, vocab_size] of all positions.
std::vector<float> pooled(const Tensor& logits, Pooling pooling) {
  const int64_t begin = pooling == Pooling::kLast ? logits.num_rows() - 1 : 0;
  const int64_t end = pooling == Pooling::kFirst ? 1 : logits.num_rows();
  std::vector<float> result(static_cast<size_t>(logits.size(-1)));
  for (size_t i = 0; i < result.size(); ++i) {
    double sum = 0;
    for (int64_t row = begin; row < end; ++row) sum += logits.row<float>(row)[i];
    result[i] = static_cast<float>(sum / static_cast<double>(end - begin));
  }
  return result;
}

class EmbeddingGoldenTest : public testing::TestWithParam<const char*> {};

TEST_P(EmbeddingGoldenTest, OutputWeightsTimesTheVectorAreThePooledLogitsOfTheReference) {
  const std::string folder = golden_folder(GetParam());
  const auto checkpoint = open_safetensors_folder(folder);
  const CheckpointTensor weights = checkpoint->get(
      checkpoint->contains("lm_head.weight") ? "lm_head.weight" : "model.embed_tokens.weight");
  const auto reference = open_safetensors_file(folder + "/golden.safetensors");
  for (const int tokens_per_step : {512, 5}) {  // whole, and in chunks
    LlmConfig config = tiny_config();
    config.max_tokens_per_step = tokens_per_step;
    const auto llm = LLM::load(folder, config);
    EXPECT_EQ(llm->embedding_size(), weights.view.size(-1));
    const Json golden = read_json_file(folder + "/golden.json");
    for (const Json& prompt : golden.at("prompts")) {
      const auto name = prompt.at("name").get<std::string>();
      const CheckpointTensor logits = reference->get(name + ".logits");
      for (const Pooling pooling : kPoolings) {
        if (prompt.at("logits") != "full" && pooling != Pooling::kLast) continue;
        const TextEmbedding embedding =
            llm->embed({request_for(prompt.at("ids").get<Ids>(), pooling, /*normalized=*/false)})
                .front();
        expect_near(product(weights.view, embedding.values), pooled(logits.view, pooling),
                    name + " " + pooling_name(pooling));
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, EmbeddingGoldenTest,
                         testing::Values("llama-mha", "llama-tied", "qwen3", "glm4"));

class EmbeddingTest : public testing::Test {
 protected:
  EmbeddingTest() : llm_(LLM::load(model_.path(), tiny_config())) {}

  TextEmbedding one(const EmbeddingRequest& request) { return llm_->embed({request}).front(); }

  TinyModel model_;
  std::unique_ptr<LLM> llm_;
};

TEST_F(EmbeddingTest, NormalizedVectorsPointTheSameWayAtLengthOne) {
  for (const Pooling pooling : kPoolings) {
    std::vector<float> raw = one(request_for(tiny_prompt(20), pooling, false)).values;
    const std::vector<float> normalized = one(request_for(tiny_prompt(20), pooling)).values;
    EXPECT_NEAR(length_of(normalized), 1.0, 1e-6);
    const double length = length_of(raw);
    EXPECT_GT(std::abs(length - 1), 1e-3) << "nothing was put to the test";
    for (float& value : raw) value = static_cast<float>(value / length);
    expect_near(normalized, raw, pooling_name(pooling));
  }
}

TEST_F(EmbeddingTest, ABatchAmongAnswersIsWhatEachIsAlone) {
  std::vector<EmbeddingRequest> requests;
  for (int i = 0; i < 12; ++i) {
    requests.push_back(request_for(tiny_prompt(3 + 17 * i, i), kPoolings[i % 3]));
  }
  std::vector<TextEmbedding> alone;
  for (const EmbeddingRequest& request : requests) alone.push_back(one(request));
  const Request answer = tiny_request(tiny_prompt(30, 99), 60);
  const Ids expected = llm_->generate({answer}).front().token_ids;

  // So little room that sequences are thrown out and computed again.
  LlmConfig config = tiny_config();
  config.max_context = 224;
  config.kv_cache_bytes = 512 << 10;
  config.max_tokens_per_step = 48;
  const auto small = LLM::load(model_.path(), config);
  std::promise<Ids> answered;
  Ids ids;
  small->submit(answer, [&](const RequestOutput& output) {
    ids.insert(ids.end(), output.token_ids.begin(), output.token_ids.end());
    if (output.is_last) answered.set_value(ids);
  });
  const std::vector<TextEmbedding> together = small->embed(requests);
  for (size_t i = 0; i < requests.size(); ++i) {
    expect_near(together[i].values, alone[i].values, std::to_string(i));
    EXPECT_EQ(together[i].prompt_tokens, 3 + 17 * static_cast<int>(i));
  }
  EXPECT_EQ(answered.get_future().get(), expected);
}

TEST_F(EmbeddingTest, OnlyTheLastTokenCanTakeTheOthersFromTheCache) {
  for (const Pooling pooling : kPoolings) {
    const TextEmbedding first = one(request_for(tiny_prompt(100), pooling));
    const TextEmbedding second = one(request_for(tiny_prompt(100), pooling));
    expect_near(second.values, first.values, pooling_name(pooling));
    EXPECT_EQ(second.cached_tokens, pooling == Pooling::kLast ? 96 : 0) << pooling_name(pooling);
  }
}

TEST_F(EmbeddingTest, ATextIsItsTokens) {
  const std::string text = "Hello w101 w102!";
  const TextEmbedding embedding = one({.input = text});
  EXPECT_EQ(embedding.values, one({.input = llm_->tokenize(text)}).values);
  EXPECT_EQ(static_cast<size_t>(embedding.prompt_tokens), llm_->tokenize(text).size());
}

TEST_F(EmbeddingTest, AContextIsTheMost) {
  LlmConfig config = tiny_config();
  config.max_context = 64;
  const auto llm = LLM::load(model_.path(), config);
  EXPECT_EQ(llm->embed({request_for(tiny_prompt(64), Pooling::kMean)}).front().prompt_tokens, 64);
  expect_error(ErrorCode::kInvalidArgument, {"65", "64"},
               [&] { llm->embed({request_for(tiny_prompt(65), Pooling::kMean)}); });
  EmbeddingRequest request = request_for(tiny_prompt(100), Pooling::kMean);
  request.truncate = true;
  const TextEmbedding cut = llm->embed({request}).front();
  EXPECT_EQ(cut.prompt_tokens, 64);
  EXPECT_EQ(cut.truncated_tokens, 36);
  expect_near(cut.values, llm->embed({request_for(tiny_prompt(64), Pooling::kMean)}).front().values,
              "cut");
}

TEST_F(EmbeddingTest, RefusesWhatItCannotDo) {
  EXPECT_TRUE(llm_->embed({}).empty());
  expect_error(ErrorCode::kInvalidArgument, {"no tokens"},
               [&] { one(request_for({}, Pooling::kMean)); });
  expect_error(ErrorCode::kInvalidArgument, {"320", "vocabulary"},
               [&] { one(request_for({5, 320}, Pooling::kMean)); });
  expect_error(ErrorCode::kInvalidArgument, {"-1", "vocabulary"}, [&] {
    llm_->embed({request_for({5}, Pooling::kMean), request_for({-1}, Pooling::kMean)});
  });
}

TEST_F(EmbeddingTest, AnAbortedOneSaysSo) {
  std::promise<EmbeddingOutput> told;
  LLM& llm = *llm_;
  // The callback of an answer runs between two steps: what it submits has not begun.
  llm.submit(tiny_request(tiny_prompt(5), 1), [&](const RequestOutput&) {
    const RequestId id =
        llm.submit_embedding(request_for(tiny_prompt(50), Pooling::kMean),
                             [&](const EmbeddingOutput& output) { told.set_value(output); });
    llm.abort(id);
  });
  const EmbeddingOutput output = told.get_future().get();
  EXPECT_EQ(output.finish_reason, FinishReason::kAborted);
  EXPECT_TRUE(output.embedding.values.empty());
}

}  // namespace
}  // namespace lanner
