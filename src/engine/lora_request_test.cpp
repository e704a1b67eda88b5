// SPDX-License-Identifier: Apache-2.0
// Adapters chosen by requests, through the public interface.
#include <memory>

#include <gtest/gtest.h>

#include "engine/testing/lora_folder.h"
#include "lanner/llm.h"
#include "weights/testing/expect_error.h"

namespace lanner {
namespace {

constexpr const char* kModel = "qwen2";

class LoraRequests : public testing::Test {
 protected:
  LoraRequests() {
    const LoraCase cases[] = {{kModel, {"q_proj", "k_proj", "v_proj", "gate_proj", "down_proj"}, 8},
                              {kModel, {"v_proj", "o_proj", "up_proj"}, 2}};
    config_.prefix_cache = false;
    for (size_t i = 0; i < std::size(cases); ++i) {
      const std::string name(1, static_cast<char>('a' + i));
      std::vector<Matrix> model = read_matrices(golden_folder(kModel));
      write_lora(folder_.file("adapter-" + name), cases[i], static_cast<uint32_t>(100 * i), model);
      write_model(folder_.file("merged-" + name), kModel, model);
      config_.lora.push_back({name, folder_.file("adapter-" + name)});
    }
    write_model(folder_.file("merged-"), kModel, read_matrices(golden_folder(kModel)));
  }

  std::unique_ptr<LLM> load(const LlmConfig& config) const {
    return LLM::load(folder_.file("merged-"), config);
  }
  static Request request(const std::string& lora, int length, int seed = 0, int tokens = 12) {
    Request made = tiny_request(tiny_prompt(length, seed), tokens);
    made.lora = lora;
    made.sampling.logprobs = 0;
    return made;
  }

  TempFolder folder_;
  LlmConfig config_ = tiny_config();
};

TEST_F(LoraRequests, EachHasItsOwnInOneBatch) {
  const auto llm = load(config_);
  EXPECT_EQ(llm->lora_adapters(), (std::vector<std::string>{"a", "b"}));
  std::vector<Request> requests;
  int seed = 0;
  for (const char* lora : {"", "a", "b", "a", "", "b", "a"}) {
    requests.push_back(request(lora, 5 + 13 * seed, seed));
    ++seed;
  }
  const std::vector<Completion> together = llm->generate(requests);
  for (size_t i = 0; i < requests.size(); ++i) {
    SCOPED_TRACE(i);
    const Completion alone = llm->generate({requests[i]}).front();
    EXPECT_EQ(together[i].token_ids, alone.token_ids);
    ASSERT_EQ(together[i].logprobs.size(), alone.logprobs.size());
    for (size_t t = 0; t < alone.logprobs.size(); ++t) {
      EXPECT_NEAR(together[i].logprobs[t].token.logprob, alone.logprobs[t].token.logprob, 1e-5);
    }
    Request without = requests[i];
    without.lora = {};
    const auto merged = LLM::load(folder_.file("merged-" + requests[i].lora), tiny_config());
    EXPECT_EQ(alone.token_ids, merged->generate({without}).front().token_ids);
  }
}

TEST_F(LoraRequests, ChangeTheAnswer) {
  const auto llm = load(config_);
  const auto tokens = [&](const char* lora) {
    return llm->generate({request(lora, 20)}).front().token_ids;
  };
  EXPECT_NE(tokens(""), tokens("a"));
  EXPECT_NE(tokens(""), tokens("b"));
  EXPECT_NE(tokens("a"), tokens("b"));
}

TEST_F(LoraRequests, ShareNoCachedPromptWithOthers) {
  LlmConfig config = config_;
  const auto fresh = load(config);
  config.prefix_cache = true;
  const auto llm = load(config);
  for (int round = 0; round < 2; ++round) {
    for (const char* lora : {"", "a", "b"}) {
      SCOPED_TRACE(lora);
      const Completion got = llm->generate({request(lora, 100)}).front();
      EXPECT_EQ(got.cached_tokens, round == 0 ? 0 : 96);
      EXPECT_EQ(got.token_ids, fresh->generate({request(lora, 100)}).front().token_ids);
    }
  }
}

TEST_F(LoraRequests, ComputeBeamsAndSeveralAnswers) {
  const auto llm = load(config_);
  const auto merged = LLM::load(folder_.file("merged-a"), tiny_config());
  Request beams = request("a", 20);
  beams.sampling.beam_width = beams.sampling.n = 3;
  Request several = request("a", 30);
  several.sampling.n = 3;
  several.sampling.temperature = 1.0;
  several.sampling.seed = 5;
  for (Request* one : {&beams, &several}) {
    const std::vector<Completion> got = llm->generate({*one});
    one->lora = {};
    const std::vector<Completion> expected = merged->generate({*one});
    ASSERT_EQ(got.size(), 3u);
    for (size_t i = 0; i < 3; ++i) EXPECT_EQ(got[i].token_ids, expected[i].token_ids);
  }
}

TEST_F(LoraRequests, MakeEmbeddingsAndLogits) {
  const auto llm = load(config_);
  const auto merged = LLM::load(folder_.file("merged-b"), tiny_config());
  const auto embedding = [](LLM& of, const char* lora) {
    return of.embed({{.input = tiny_prompt(9), .lora = lora}}).front().values;
  };
  const std::vector<float> got = embedding(*llm, "b"), expected = embedding(*merged, "");
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-5);
  const auto logits = [](LLM& of, const std::string& lora) {
    std::vector<float> all;
    of.logits(
        tiny_prompt(9),
        [&](int64_t, std::span<const float> rows) {
          all.insert(all.end(), rows.begin(), rows.end());
        },
        lora);
    return all;
  };
  const std::vector<float> rows = logits(*llm, "b"), expected_rows = logits(*merged, "");
  ASSERT_EQ(rows.size(), expected_rows.size());
  for (size_t i = 0; i < rows.size(); ++i) EXPECT_NEAR(rows[i], expected_rows[i], 1e-4);
}

TEST_F(LoraRequests, RefuseUnknownNames) {
  const auto llm = load(config_);
  expect_error(ErrorCode::kInvalidArgument, {"'c'", "a, b"},
               [&] { llm->generate({request("c", 5)}); });
  expect_error(ErrorCode::kInvalidArgument, {"'c'"},
               [&] { llm->embed({{.input = tiny_prompt(5), .lora = "c"}}); });
  LlmConfig config = config_;
  config.lora_merge = true;
  const auto merged = load(config);
  EXPECT_TRUE(merged->lora_adapters().empty());
  expect_error(ErrorCode::kInvalidArgument, {"'a'", "there are none"},
               [&] { merged->generate({request("a", 5)}); });
}

// Both adapters add up.
TEST_F(LoraRequests, MergeSeveral) {
  LlmConfig config = config_;
  config.lora_merge = true;
  std::vector<Matrix> base = read_matrices(golden_folder(kModel));
  const std::vector<Matrix> a = read_matrices(folder_.file("merged-a"));
  const std::vector<Matrix> b = read_matrices(folder_.file("merged-b"));
  for (size_t m = 0; m < base.size(); ++m) {
    for (size_t i = 0; i < base[m].values.size(); ++i) {
      base[m].values[i] +=
          (a[m].values[i] - base[m].values[i]) + (b[m].values[i] - base[m].values[i]);
    }
  }
  write_model(folder_.file("sum"), kModel, base);
  const Request asked = request("", 20);
  EXPECT_EQ(load(config)->generate({asked}).front().token_ids,
            LLM::load(folder_.file("sum"), tiny_config())->generate({asked}).front().token_ids);
}

}  // namespace
}  // namespace lanner
