// SPDX-License-Identifier: Apache-2.0
// Every family on two ranks over oneCCL: the reference's logits and greedy tokens, and with smaller
// types the numbers of one rank. Two processes meet once and compute all models: oneCCL's start
// takes longer than the models do.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include <gmock/gmock.h>

#include "distributed/oneccl_communicator.h"
#include "distributed/testing/rank_processes.h"
#include "engine/model_runner.h"
#include "engine/testing/golden_case.h"

namespace lanner {
namespace {

using ::lanner::testing::run_rank_processes;
using ::testing::Each;

constexpr int kRanks = 2;
constexpr int kTokensPerStep = 64;
// Of the longest step of the widest model: sums of other sizes are a part of that memory.
constexpr int64_t kMostSumElements = 1 << 20;
// As in golden_test.cpp.
constexpr double kLogitTolerance = 1e-4;
constexpr double kClearMargin = 1e-3;
// Of sums as bf16: twice and four times what any family has on any instruction set.
constexpr double kMostDifference = 0.02;
constexpr double kMostDivergence = 5e-4;

// The communicator of a process, lent to one model after the other.
class LentCommunicator final : public Communicator {
 public:
  explicit LentCommunicator(Communicator& owner) : owner_(owner) {}
  int rank() const override { return owner_.rank(); }
  int size() const override { return owner_.size(); }
  const char* backend() const override { return owner_.backend(); }
  PartialSum begin_sum(const Tensor& y) override { return owner_.begin_sum(y); }
  void finish_sum(const Tensor& y, ThreadPool& threads) override { owner_.finish_sum(y, threads); }
  void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    owner_.all_gather(mine, all);
  }
  std::vector<std::byte> broadcast(std::vector<std::byte> message) override {
    return owner_.broadcast(std::move(message));
  }
  void barrier() override { owner_.barrier(); }
  void fail(const std::string& reason) noexcept override { owner_.fail(reason); }
  CommunicatorStats stats() const override { return owner_.stats(); }

 private:
  Communicator& owner_;
};

LlmConfig config_of(const char* dtype, const char* kv_dtype) {
  LlmConfig config;
  config.dtype = dtype;
  config.kv_dtype = kv_dtype;
  config.threads = 1;
  config.kv_cache_bytes = 8 << 20;
  config.max_tokens_per_step = kTokensPerStep;
  return config;
}

// Both ranks load the model and rank 0 runs `task` on it, which the other follows.
void run_model(Communicator& communicator, const ModelFiles& files, const LlmConfig& config,
               const std::function<void(ModelRunner&)>& task) {
  const ModelPlan plan = plan_model(files, config, read_topology(), {.size = kRanks});
  ASSERT_LE(most_tokens_per_step(plan, config) * plan.info.hidden_size, kMostSumElements);
  ModelRunner runner(files, config, {},
                     {.communicator = std::make_unique<LentCommunicator>(communicator),
                      .threads = {.cpus = {-1}, .reason = "one thread per rank"},
                      .ranks_here = kRanks});
  if (communicator.rank() == 0) {
    task(runner);
  } else {
    runner.follow();
  }
}

// The largest difference of a logit, as a part of the largest one or of 1.
double error_of(const GoldenPrompt& prompt, const Logits& logits) {
  const size_t offset = logits.size() - prompt.logits.size();
  return max_difference(logits.data() + offset, prompt.logits.data(), prompt.logits.size()) /
         std::max(1.0, prompt.logits_max_abs);
}

// How many tokens of the greedy answer come out where each is computed on its own, up to the first
// that the reference itself is in doubt of.
int count_greedy_tokens(ModelRunner& runner, const GoldenPrompt& prompt, int64_t vocab_size) {
  std::vector<int32_t> ids = prompt.ids;
  ids.insert(ids.end(), prompt.greedy.begin(), prompt.greedy.end());
  const Logits logits = compute_logits(runner, ids, 1);
  int count = 0;
  for (size_t i = 0; i < prompt.greedy.size(); ++i) {
    if (prompt.greedy_margins[i] < kClearMargin) break;
    const auto row = logits.begin() + static_cast<std::ptrdiff_t>((prompt.ids.size() + i - 1) *
                                                                  static_cast<size_t>(vocab_size));
    EXPECT_EQ(std::max_element(row, row + vocab_size) - row, prompt.greedy[i]) << "token " << i;
    ++count;
  }
  return count;
}

void expect_reference(Communicator& communicator, const std::string& family) {
  const GoldenCase golden = load_golden_case(family);
  const ModelFiles files = open_model(golden.folder);
  run_model(communicator, files, config_of("fp32", "fp32"), [&](ModelRunner& runner) {
    double worst = 0;
    for (const GoldenPrompt& prompt : golden.prompts) {
      const Logits logits = compute_logits(runner, prompt.ids);
      ASSERT_EQ(logits.size(), prompt.ids.size() * static_cast<size_t>(golden.vocab_size));
      const double error = error_of(prompt, logits);
      EXPECT_LE(error, kLogitTolerance) << prompt.name;
      if (!(error <= worst)) worst = error;
    }
    const int tokens = count_greedy_tokens(runner, golden.prompts.front(), golden.vocab_size);
    std::printf("%-20s largest difference %.1e, %d greedy tokens equal\n", family.c_str(), worst,
                tokens);
  });
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// The median over positions of the largest difference, as a part of the largest logit: a router may
// choose otherwise where two experts are as good.
double difference(const Logits& actual, const Logits& expected, int64_t vocab_size) {
  EXPECT_EQ(actual.size(), expected.size());
  std::vector<double> errors;
  const auto columns = static_cast<size_t>(vocab_size);
  for (size_t row = 0; row < expected.size(); row += columns) {
    double most = 0;
    for (size_t i = row; i < row + columns; ++i) {
      most = std::max(most, std::abs(double{expected[i]}));
    }
    errors.push_back(max_difference(&actual[row], &expected[row], columns) / most);
  }
  return median(std::move(errors));
}

// The KL divergence of the next token's distribution from the expected one, likewise.
double divergence(const Logits& actual, const Logits& expected, int64_t vocab_size) {
  const auto columns = static_cast<size_t>(vocab_size);
  const auto log_sum = [&](const float* row) {
    const double most = *std::max_element(row, row + columns);
    double sum = 0;
    for (size_t i = 0; i < columns; ++i) sum += std::exp(row[i] - most);
    return most + std::log(sum);
  };
  std::vector<double> of_rows;
  for (size_t begin = 0; begin < expected.size(); begin += columns) {
    const float* p = &expected[begin];
    const float* q = &actual[begin];
    const double p_sum = log_sum(p), q_sum = log_sum(q);
    double sum = 0;
    for (size_t i = 0; i < columns; ++i) {
      sum += std::exp(p[i] - p_sum) * ((p[i] - p_sum) - (q[i] - q_sum));
    }
    of_rows.push_back(sum);
  }
  return median(std::move(of_rows));
}

Logits logits_of_all_prompts(ModelRunner& runner, const GoldenCase& golden) {
  Logits all;
  for (const GoldenPrompt& prompt : golden.prompts) {
    const Logits logits = compute_logits(runner, prompt.ids);
    all.insert(all.end(), logits.begin(), logits.end());
  }
  return all;
}

class OneCclGoldenTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string problem = oneccl_problem();
    if (!problem.empty()) GTEST_SKIP() << problem;
  }

  static void run(DType wire, const std::function<void(Communicator&)>& task) {
    const auto of_rank = [&](std::shared_ptr<Rendezvous> rendezvous) {
      const auto communicator =
          make_oneccl_communicator(rendezvous, {.sum_elements = kMostSumElements,
                                                .wire = wire,
                                                .stall_time = std::chrono::seconds(120),
                                                .has_cpu_for_each = false});
      try {
        task(*communicator);
      } catch (const std::exception& error) {
        communicator->fail(error.what());
        throw;
      }
      communicator->barrier();
      const CommunicatorStats stats = communicator->stats();
      EXPECT_GT(stats.sums, 0u);
      // Between two ranks each sends as many bytes as a sum has.
      EXPECT_EQ(stats.sum_bytes_copied, wire == DType::kBf16 ? stats.sum_bytes : 0);
    };
    EXPECT_THAT(run_rank_processes(kRanks, of_rank), Each(0));
  }
};

TEST_F(OneCclGoldenTest, LogitsAndGreedyTokensEqualTheReference) {
  run(DType::kF32, [](Communicator& communicator) {
    for (const std::string& family : golden_families()) {
      SCOPED_TRACE(family);
      expect_reference(communicator, family);
    }
  });
}

// Sums that travel as bf16 have 8 bits of each part; the residual stream they are added to is fp32.
TEST_F(OneCclGoldenTest, SumsAsBf16StayCloseToTheReference) {
  run(DType::kBf16, [](Communicator& communicator) {
    double worst_difference = 0, worst_divergence = 0;
    for (const std::string& family : golden_families()) {
      SCOPED_TRACE(family);
      const GoldenCase golden = load_golden_case(family);
      const ModelFiles files = open_model(golden.folder);
      run_model(communicator, files, config_of("fp32", "fp32"), [&](ModelRunner& split) {
        ModelRunner alone(files, config_of("fp32", "fp32"), {});
        const Logits expected = logits_of_all_prompts(alone, golden);
        const Logits actual = logits_of_all_prompts(split, golden);
        const double differs = difference(actual, expected, golden.vocab_size);
        const double diverges = divergence(actual, expected, golden.vocab_size);
        std::printf("%-20s difference %.4f, KL divergence %.1e\n", family.c_str(), differs,
                    diverges);
        EXPECT_GT(differs, 0);
        EXPECT_LE(differs, kMostDifference);
        EXPECT_LE(diverges, kMostDivergence);
        worst_difference = std::max(worst_difference, differs);
        worst_divergence = std::max(worst_divergence, diverges);
      });
    }
    if (communicator.rank() != 0) return;
    std::printf("worst: difference %.4f, KL divergence %.1e\n", worst_difference, worst_divergence);
  });
}

// Two ranks have exactly the weights of one. What differs are the scales of int8 activations: in a
// group that both have a part of each rank takes its own part's largest value, which is a finer
// scale, so that the split model is as near to fp32 as the whole one, and both differ from each
// other by their two errors.
TEST_F(OneCclGoldenTest, SmallerTypesAreAsExactAsOnOneRank) {
  constexpr struct {
    const char* dtype;
    const char* kv_dtype;
  } kTypes[] = {{"bf16", "fp32"}, {"bf16", "fp16"}, {"fp32", "fp16"}, {"fp32", "int8"},
                {"int8", "fp16"}, {"int8", "int8"}, {"int4", "fp16"}, {"int4", "int8"}};
  run(DType::kF32, [&](Communicator& communicator) {
    for (const char* family :
         {"llama-mha", "qwen3", "mixtral", "deepseek_v2", "gemma2", "falcon-7b"}) {
      const GoldenCase golden = load_golden_case(family);
      const ModelFiles files = open_model(golden.folder);
      Logits exact;
      if (communicator.rank() == 0) {
        ModelRunner runner(files, config_of("fp32", "fp32"), {});
        exact = logits_of_all_prompts(runner, golden);
        std::printf("%-12s\n", family);
      }
      for (const auto& [dtype, kv_dtype] : kTypes) {
        SCOPED_TRACE(std::string(family) + ", " + dtype + " weights, " + kv_dtype + " cache");
        const LlmConfig config = config_of(dtype, kv_dtype);
        run_model(communicator, files, config, [&](ModelRunner& split) {
          ModelRunner runner(files, config, {});
          const Logits alone = logits_of_all_prompts(runner, golden);
          const Logits both = logits_of_all_prompts(split, golden);
          const double of_both = difference(both, exact, golden.vocab_size);
          const double of_one = difference(alone, exact, golden.vocab_size);
          const double between = difference(both, alone, golden.vocab_size);
          std::printf("  %s weights, %s cache: to fp32 %.4f, of one rank %.4f, between %.4f\n",
                      dtype, kv_dtype, of_both, of_one, between);
          EXPECT_LE(of_both, 1.1 * of_one + kLogitTolerance);
          EXPECT_LE(between, of_one);
        });
      }
    }
  });
}

}  // namespace
}  // namespace lanner
