// SPDX-License-Identifier: Apache-2.0
// Beams of the engine against a search written down plainly, which computes every beam from its
// first token on.
#include "engine/beam_search.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include <gtest/gtest.h>

#include "engine/engine.h"
#include "engine/testing/tiny_model.h"
#include "weights/testing/expect_error.h"

namespace lanner {
namespace {

struct Reference {
  std::vector<int32_t> tokens;
  double sum = 0;
  double score = 0;
};

// HF's beam search (generation/beam_search.py), for one prompt.
class ReferenceSearch {
 public:
  ReferenceSearch(const std::string& folder, std::vector<int32_t> ends)
      : files_(open_model(folder)), runner_(files_, tiny_config(), {}), ends_(std::move(ends)) {}

  std::vector<Reference> run(const std::vector<int32_t>& prompt, const SamplingParams& params) {
    const auto width = static_cast<size_t>(params.beam_width);
    const auto longest = static_cast<size_t>(*params.max_tokens);
    std::vector<Reference> running = {{}};
    std::vector<Reference> finished;
    bool done = false;
    for (size_t length = 1; length <= longest && !done; ++length) {
      std::vector<Reference> options;
      for (const Reference& beam : running) {
        const std::vector<double> logprobs = next(prompt, beam.tokens);
        for (size_t id = 0; id < logprobs.size(); ++id) {
          options.push_back(beam);
          options.back().tokens.push_back(static_cast<int32_t>(id));
          options.back().sum += logprobs[id];
        }
      }
      std::ranges::stable_sort(options, [](auto& a, auto& b) { return a.sum > b.sum; });
      running.clear();
      for (size_t rank = 0; running.size() < width; ++rank) {
        Reference& option = options[rank];
        const bool ends = std::ranges::find(ends_, option.tokens.back()) != ends_.end();
        if (!ends) {
          running.push_back(option);
        } else if (rank < width) {
          add(finished, option, params);
        }
      }
      if (finished.size() < width) continue;
      const double power = params.length_penalty;
      const double reach = params.early_stopping == EarlyStopping::kNever && power > 0
                               ? static_cast<double>(longest)
                               : static_cast<double>(length);
      done = params.early_stopping == EarlyStopping::kAlways ||
             finished.back().score >= options.front().sum / std::pow(reach, power);
    }
    if (!done) {
      for (const Reference& beam : running) add(finished, beam, params);
    }
    finished.resize(std::min(finished.size(), static_cast<size_t>(params.n)));
    return finished;
  }

 private:
  static void add(std::vector<Reference>& finished, Reference beam, const SamplingParams& params) {
    beam.score =
        beam.sum / std::pow(static_cast<double>(beam.tokens.size()), params.length_penalty);
    finished.push_back(beam);
    std::ranges::stable_sort(finished, [](auto& a, auto& b) { return a.score > b.score; });
    if (finished.size() > static_cast<size_t>(params.beam_width)) finished.pop_back();
  }

  std::vector<double> next(std::vector<int32_t> ids, const std::vector<int32_t>& more) {
    ids.insert(ids.end(), more.begin(), more.end());
    std::vector<double> logprobs;
    runner_.logits(ids, 0, [&](const Tensor& rows) {
      const float* last = rows.row<float>(rows.num_rows() - 1);
      logprobs.assign(last, last + rows.size(-1));
    });
    const double best = *std::ranges::max_element(logprobs);
    double sum = 0;
    for (const double logit : logprobs) sum += std::exp(logit - best);
    for (double& logit : logprobs) logit -= best + std::log(sum);
    return logprobs;
  }

  ModelFiles files_;
  ModelRunner runner_;
  std::vector<int32_t> ends_;
};

SamplingParams beams(int width, int max_tokens) {
  SamplingParams params;
  params.beam_width = width;
  params.n = width;
  params.max_tokens = max_tokens;
  return params;
}

void expect_same(const std::vector<Completion>& actual, const std::vector<Reference>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(actual[i].token_ids, expected[i].tokens) << "beam " << i;
  }
}

// End tokens that come up now and then, so that beams finish at different lengths.
const std::vector<int32_t> kEnds = {2, 40, 77, 130, 201, 250, 260, 283, 300, 310};

// A golden model's beams, and the search that they should come of.
class BeamFamily {
 public:
  explicit BeamFamily(const char* golden)
      : model_(golden, {{"eos_token_id", kEnds}}),
        llm_(LLM::load(model_.path(), tiny_config())),
        reference_(model_.path(), kEnds) {}

  void expect_reference(const std::vector<int32_t>& prompt, int width, double length_penalty,
                        EarlyStopping stopping) {
    SamplingParams params = beams(width, 10);
    params.length_penalty = length_penalty;
    params.early_stopping = stopping;
    const Request request{.prompt = prompt, .sampling = params};
    expect_same(llm_->generate({request}), reference_.run(prompt, params));
  }

 private:
  TinyModel model_;
  std::unique_ptr<LLM> llm_;
  ReferenceSearch reference_;
};

TEST(Beams, AreThoseOfTheReferenceSearch) {
  for (const char* golden : {"llama-mha", "llama-tied"}) {
    BeamFamily family(golden);
    for (int seed = 0; seed < 3; ++seed) {
      const std::vector<int32_t> prompt = tiny_prompt(20 + 13 * seed, seed);
      for (const int width : {2, 4}) {
        for (const double length_penalty : {1.0, 0.0, 2.0}) {
          for (const EarlyStopping stopping :
               {EarlyStopping::kHeuristic, EarlyStopping::kAlways, EarlyStopping::kNever}) {
            family.expect_reference(prompt, width, length_penalty, stopping);
            if (::testing::Test::HasFailure()) return;
          }
        }
      }
    }
  }
}

TEST(Beams, AreThoseOfTheReferenceSearchInOtherFamilies) {
  const char* families[] = {
      "mistral",      // grouped queries, a window that the prompt is longer than
      "gemma2",       // every other layer with a window, capped scores and logits
      "mixtral",      // experts
      "bloom",        // ALiBi
      "falcon-7b",    // one KV head
      "deepseek_v3",  // latent attention and experts
      "gpt_oss",      // sinks
  };
  for (const char* golden : families) {
    SCOPED_TRACE(golden);
    BeamFamily family(golden);
    family.expect_reference(tiny_prompt(61, 1), 3, 1.0, EarlyStopping::kHeuristic);
    family.expect_reference(tiny_prompt(17, 2), 4, 2.0, EarlyStopping::kNever);
  }
}

TEST(Beams, AreTheSameAmongOtherRequestsAndWhenThrownOut) {
  const TinyModel model;
  LlmConfig config = tiny_config();
  config.max_context = 96;
  const auto roomy = LLM::load(model.path(), config);
  std::vector<Request> requests;
  for (int i = 0; i < 3; ++i) {
    requests.push_back({.prompt = tiny_prompt(30 + i, i), .sampling = beams(3, 30)});
    requests.back().sampling.ignore_eos = true;
    requests.push_back(tiny_request(tiny_prompt(25, 10 + i), 60));
  }
  std::vector<Completion> expected;
  for (const Request& request : requests) {
    for (Completion& completion : roomy->generate({request})) expected.push_back(completion);
  }
  const int64_t block_bytes = Json::parse(roomy->report())
                                  .at("model")
                                  .at("memory_plan")
                                  .at("kv_bytes_per_token")
                                  .get<int64_t>() *
                              32;
  config.kv_cache_bytes = 9 * block_bytes;
  config.prefix_cache = false;
  const auto tight = LLM::load(model.path(), config);
  const std::vector<Completion> actual = tight->generate(requests);
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i)
    EXPECT_EQ(actual[i].token_ids, expected[i].token_ids) << i;
  EXPECT_GT(tight->stats().preemptions, 0);
}

TEST(Beams, AreRefusedWhereTheyMakeNoSense) {
  const TinyModel model;
  const auto llm = LLM::load(model.path(), tiny_config());
  Request request{.prompt = tiny_prompt(9), .sampling = beams(4, 8)};
  request.sampling.stop = {"x"};
  expect_error(ErrorCode::kInvalidArgument, {"stop_token_ids", "beam_width"},
               [&] { llm->generate({request}); });
  request.sampling.stop.clear();
  request.sampling.max_tokens.reset();
  request.sampling.beam_width = 64;
  expect_error(ErrorCode::kInvalidArgument, {"64 beams", "blocks of the KV cache"},
               [&] { llm->generate({request}); });
}

TEST(Beams, ReportLogprobsThatAddUpToTheirOrder) {
  const TinyModel model;
  const auto llm = LLM::load(model.path(), tiny_config());
  Request request{.prompt = tiny_prompt(9), .sampling = beams(3, 8)};
  request.sampling.ignore_eos = true;
  request.sampling.logprobs = 2;
  double before = 0;
  for (const Completion& completion : llm->generate({request})) {
    ASSERT_EQ(completion.logprobs.size(), 8u);
    double sum = 0;
    for (size_t i = 0; i < 8; ++i) {
      EXPECT_EQ(completion.logprobs[i].token.id, completion.token_ids[i]);
      EXPECT_EQ(completion.logprobs[i].top.size(), 2u);
      sum += completion.logprobs[i].token.logprob;
    }
    if (before != 0) {
      EXPECT_LE(sum, before);
    }
    before = sum;
  }
}

}  // namespace
}  // namespace lanner
