// SPDX-License-Identifier: Apache-2.0
// Every family against the reference implementation's logits and greedy tokens, however the work is
// cut: whole prompts, chunks, token by token, alone, in a batch, on one to three threads. Labelled
// `isa`: ctest runs all of it once per ISA cap of the machine.
#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <thread>

#include <gtest/gtest.h>

#include "engine/model_runner.h"
#include "engine/testing/golden_case.h"
#include "lanner/llm.h"

namespace lanner {
namespace {

// The reference's own noise is 1e-6 to 4e-5 (tests/golden/README.md, "Tolerances").
constexpr double kLogitTolerance = 1e-4;
constexpr double kClearMargin = 1e-3;

LlmConfig exact_config(int threads = 2) {
  LlmConfig config;
  config.dtype = "fp32";
  config.kv_dtype = "fp32";
  config.threads = threads;
  config.kv_cache_bytes = 8 << 20;
  config.max_tokens_per_step = 64;  // so that the longest prompts are prefilled in chunks
  return config;
}

// The error of each position, as a part of how much its logits differ from each other; the median
// over the positions. A router whose choice hangs on the last bit sends a few tokens to another
// expert, and that is no error of the cache.
double median_position_error(const Logits& actual, const Logits& expected, int64_t vocab_size) {
  std::vector<double> errors;
  for (size_t row = 0; row < expected.size(); row += static_cast<size_t>(vocab_size)) {
    double mean = 0, spread = 0, difference = 0;
    for (size_t i = row; i < row + static_cast<size_t>(vocab_size); ++i) mean += expected[i];
    mean /= static_cast<double>(vocab_size);
    for (size_t i = row; i < row + static_cast<size_t>(vocab_size); ++i) {
      spread += std::pow(expected[i] - mean, 2);
      difference += std::pow(static_cast<double>(actual[i]) - expected[i], 2);
    }
    errors.push_back(std::sqrt(difference / spread));
  }
  const auto middle = errors.begin() + static_cast<std::ptrdiff_t>(errors.size() / 2);
  std::nth_element(errors.begin(), middle, errors.end());
  return std::any_of(errors.begin(), errors.end(), [](double e) { return std::isnan(e); })
             ? NAN
             : *middle;
}

double log_probability(const float* logits, int64_t vocab_size, int32_t token) {
  const double best = *std::max_element(logits, logits + vocab_size);
  double sum = 0;
  for (int64_t i = 0; i < vocab_size; ++i) sum += std::exp(logits[i] - best);
  return logits[token] - best - std::log(sum);
}

class GoldenTest : public testing::TestWithParam<std::string> {
 protected:
  GoldenTest() : golden_(load_golden_case(GetParam())), files_(open_model(golden_.folder)) {}

  // Compares with the reference wherever it has logits.
  void expect_reference(const GoldenPrompt& prompt, const Logits& logits, const std::string& what) {
    const size_t offset = logits.size() - prompt.logits.size();
    ASSERT_EQ(logits.size(), prompt.ids.size() * static_cast<size_t>(golden_.vocab_size));
    EXPECT_LE(max_difference(logits.data() + offset, prompt.logits.data(), prompt.logits.size()),
              kLogitTolerance * std::max(1.0, prompt.logits_max_abs))
        << prompt.name << ", " << what;
  }

  // Equal up to the first step at which the reference itself is in doubt.
  void expect_greedy(const GoldenPrompt& prompt, const Completion& completion,
                     const std::string& what) {
    ASSERT_EQ(completion.token_ids.size(), prompt.greedy.size());
    for (size_t i = 0; i < prompt.greedy.size(); ++i) {
      if (prompt.greedy_margins[i] < kClearMargin) return;
      ASSERT_EQ(completion.token_ids[i], prompt.greedy[i])
          << prompt.name << ", " << what << ", step " << i;
    }
  }

  Request greedy_request(const GoldenPrompt& prompt) const {
    Request request{.prompt = prompt.ids, .sampling = {}};
    request.sampling.max_tokens = static_cast<int>(prompt.greedy.size());
    request.sampling.ignore_eos = true;
    return request;
  }

  GoldenCase golden_;
  ModelFiles files_;
};

TEST_P(GoldenTest, LogitsEqualTheReferenceOnAnyNumberOfThreads) {
  for (int threads : {1, 2, 3}) {
    ModelRunner runner(files_, exact_config(threads), {});
    ASSERT_LE(runner.num_threads(), threads);
    for (const GoldenPrompt& prompt : golden_.prompts) {
      expect_reference(prompt, compute_logits(runner, prompt.ids, 0),
                       std::to_string(threads) + " threads");
    }
  }
}

TEST_P(GoldenTest, ChunksAndSingleTokensEqualTheReference) {
  ModelRunner runner(files_, exact_config(), {});
  for (const GoldenPrompt& prompt : golden_.prompts) {
    for (int chunk : {1, 3, 16, 32, 1000}) {
      expect_reference(prompt, compute_logits(runner, prompt.ids, chunk),
                       "chunks of " + std::to_string(chunk));
    }
  }
}

// A prompt of some tokens, cut in two at every place, and into pieces of every size.
TEST_P(GoldenTest, ChunksAtEveryBoundaryEqualTheReference) {
  ModelRunner runner(files_, exact_config(), {});
  for (const GoldenPrompt& prompt : golden_.prompts) {
    if (prompt.ids.size() > 40) continue;
    for (int chunk = 1; chunk < std::ssize(prompt.ids); ++chunk) {
      expect_reference(prompt, compute_logits(runner, prompt.ids, chunk),
                       "chunks of " + std::to_string(chunk));
    }
  }
}

TEST_P(GoldenTest, LogProbabilityOfThePromptEqualsTheReference) {
  ModelRunner runner(files_, exact_config(), {});
  for (const GoldenPrompt& prompt : golden_.prompts) {
    const Logits logits = compute_logits(runner, prompt.ids, 0);
    double sum = 0;
    for (size_t t = static_cast<size_t>(prompt.logprob_from); t < prompt.ids.size(); ++t) {
      const float* row = logits.data() + (t - 1) * static_cast<size_t>(golden_.vocab_size);
      sum += log_probability(row, golden_.vocab_size, prompt.ids[t]);
    }
    EXPECT_NEAR(sum, prompt.logprob_sum, 1e-4 * prompt.logprob_count + 1e-3) << prompt.name;
  }
}

TEST_P(GoldenTest, GreedyTokensEqualTheReferenceAloneAndInABatch) {
  const auto llm = LLM::load(golden_.folder, exact_config());
  std::vector<Request> requests;
  for (const GoldenPrompt& prompt : golden_.prompts) {
    requests.push_back(greedy_request(prompt));
    expect_greedy(prompt, llm->generate({requests.back()}).front(), "alone");
  }
  const std::vector<Completion> batch = llm->generate(requests);
  for (size_t i = 0; i < batch.size(); ++i) {
    expect_greedy(golden_.prompts[i], batch[i], "in a batch");
  }
}

TEST_P(GoldenTest, SmallerKvCachesStayClose) {
  ModelRunner exact(files_, exact_config(), {});
  for (const char* kv_dtype : {"fp16", "bf16", "int8"}) {
    LlmConfig config = exact_config();
    config.kv_dtype = kv_dtype;
    ModelRunner runner(files_, config, {});
    for (const GoldenPrompt& prompt : golden_.prompts) {
      const Logits expected = compute_logits(exact, prompt.ids, 0);
      const Logits actual = compute_logits(runner, prompt.ids, 0);
      // bf16 keeps 8 bits of mantissa, int8 7 bits of a row's largest element; a head's average
      // over keys evens most of it out.
      const double tolerance = kv_dtype == std::string("int8") ? 5e-2 : 2e-2;
      EXPECT_LE(median_position_error(actual, expected, golden_.vocab_size), tolerance)
          << prompt.name << ", " << kv_dtype;
    }
  }
}

// Random weights suffer more from rounding than trained ones, random routers most. Logits that have
// nothing to do with the expected ones give 1.4: a wrong scale or layout, which this is for.
TEST_P(GoldenTest, SmallerWeightsStayClose) {
  constexpr struct {
    const char* dtype;
    double tolerance;
  } kTypes[] = {{"bf16", 0.05}, {"int8", 0.1}, {"int4", 0.8}};
  ModelRunner exact(files_, exact_config(), {});
  for (const auto& [dtype, tolerance] : kTypes) {
    LlmConfig config = exact_config();
    config.dtype = dtype;
    ModelRunner runner(files_, config, {});
    for (const GoldenPrompt& prompt : golden_.prompts) {
      const Logits expected = compute_logits(exact, prompt.ids, 0);
      const Logits actual = compute_logits(runner, prompt.ids, 0);
      EXPECT_LE(median_position_error(actual, expected, golden_.vocab_size), tolerance)
          << prompt.name << ", " << dtype;
    }
  }
}

TEST_P(GoldenTest, TwoModelsLiveInOneProcess) {
  const auto first = LLM::load(golden_.folder, exact_config(1));
  const auto second = LLM::load(golden_.folder, exact_config(2));
  const GoldenPrompt& prompt = golden_.prompts.back();
  std::mutex mutex;
  std::map<LLM*, Completion> done;
  std::vector<std::thread> callers;
  for (LLM* llm : {first.get(), second.get()}) {
    callers.emplace_back([&, llm] {
      Completion completion = llm->generate({greedy_request(prompt)}).front();
      const std::lock_guard lock(mutex);
      done[llm] = std::move(completion);
    });
  }
  for (std::thread& caller : callers) caller.join();
  expect_greedy(prompt, done.at(first.get()), "first model");
  expect_greedy(prompt, done.at(second.get()), "second model");
}

INSTANTIATE_TEST_SUITE_P(
    Families, GoldenTest, testing::ValuesIn(golden_families()), [](const auto& test) {
      std::string name = test.param;
      std::replace_if(name.begin(), name.end(), [](char c) { return !std::isalnum(c); }, '_');
      return name;
    });

}  // namespace
}  // namespace lanner
