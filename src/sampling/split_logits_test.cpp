// SPDX-License-Identifier: Apache-2.0
// A vocabulary on several ranks against the Sampler that has all of it.
#include "sampling/split_logits.h"

#include <barrier>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <string>
#include <thread>

#include <gtest/gtest.h>

#include "base/testing/random.h"

namespace lanner {
namespace {

constexpr int64_t kVocab = 5000;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Ranks as threads, each with its columns of the logits.
class Slices {
 public:
  Slices(std::vector<float> logits, int64_t num_rows, int num_ranks)
      : num_rows_(num_rows), meeting_(num_ranks), said_(static_cast<size_t>(num_ranks)) {
    const int64_t vocab = std::ssize(logits) / num_rows;
    const int64_t words = (vocab + 31) / 32;
    const auto border = [&](int rank) {
      return std::min((words * rank + num_ranks - 1) / num_ranks * 32, vocab);
    };
    for (int rank = 0; rank < num_ranks; ++rank) {
      VocabSlice slice{.begin = static_cast<int32_t>(border(rank)),
                       .size = static_cast<int32_t>(border(rank + 1) - border(rank)),
                       .largest = static_cast<int32_t>(border(1)),
                       .vocab_size = static_cast<int32_t>(vocab),
                       .rank = rank,
                       .num_ranks = num_ranks,
                       .all_gather = [this, rank](auto mine, auto all) { say(rank, mine, all); }};
      std::vector<float> own;
      for (int64_t row = 0; row < num_rows; ++row) {
        const auto begin = logits.begin() + row * vocab + slice.begin;
        own.insert(own.end(), begin, begin + slice.size);
      }
      slices_.push_back(std::move(slice));
      logits_.push_back(std::move(own));
    }
  }

  // What task(logits, slice, threads) returns on rank 0.
  template <typename Result>
  Result on_all(const std::function<Result(const Tensor&, const VocabSlice&, ThreadPool&)>& task) {
    std::vector<Result> results(slices_.size());
    std::vector<std::thread> threads;
    for (size_t rank = 0; rank < slices_.size(); ++rank) {
      threads.emplace_back([&, rank] {
        ThreadPool pool(1);
        const Tensor own(logits_[rank].data(), DType::kF32, {num_rows_, slices_[rank].size});
        results[rank] = task(own, slices_[rank], pool);
      });
    }
    for (std::thread& thread : threads) thread.join();
    return results.front();
  }

  SelectTokens select() {
    return [this](const std::vector<RowSelection>& wanted) {
      return on_all<std::vector<RowChoice>>(
          [&](const Tensor& logits, const VocabSlice& slice, ThreadPool& threads) {
            return select_tokens(logits, wanted, slice, threads);
          });
    };
  }

  size_t bytes() const { return bytes_; }  // that rank 0 said

 private:
  void say(int rank, std::span<const std::byte> mine, std::span<std::byte> all) {
    said_[static_cast<size_t>(rank)] = mine;
    if (rank == 0) bytes_ += mine.size();
    meeting_.arrive_and_wait();
    for (size_t r = 0; r < said_.size(); ++r) {
      ASSERT_EQ(said_[r].size(), mine.size());
      std::memcpy(all.data() + r * mine.size(), said_[r].data(), mine.size());
    }
    meeting_.arrive_and_wait();
  }

  int64_t num_rows_;
  std::vector<VocabSlice> slices_;
  std::vector<std::vector<float>> logits_;
  std::barrier<> meeting_;
  std::vector<std::span<const std::byte>> said_;
  size_t bytes_ = 0;
};

std::vector<float> peaked_logits(int64_t count, uint32_t seed, float spread) {
  std::vector<float> logits = random_normal(count, seed);
  for (float& logit : logits) logit *= spread;
  return logits;
}

// Every third token, and the tokens it was given.
class EveryThird : public TokenConstraint {
 public:
  EveryThird() : mask_(kVocab / 32 + 1) {
    for (size_t i = 0; i < kVocab; i += 3) mask_[i / 32] |= 1u << (i % 32);
  }
  void prepare() override {}
  std::span<const uint32_t> allowed() override { return mask_; }
  void accept(int32_t token) override { accepted.push_back(token); }
  std::vector<int32_t> forced() override { return {7}; }
  std::unique_ptr<TokenConstraint> clone() const override {
    return std::make_unique<EveryThird>(*this);
  }
  std::vector<int32_t> accepted;

 private:
  std::vector<uint32_t> mask_;
};

struct Case {
  std::string name;
  SamplingParams params;
  float spread = 3;  // of the logits: a small one has long tails
  int width = 1;
  int num_candidates = 0;
  bool constraint = false;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  const auto add = [&](const std::string& name, float spread, auto change) -> Case& {
    Case& c = all.emplace_back();
    c.name = name;
    c.spread = spread;
    change(c.params);
    return c;
  };
  add("greedy", 3, [](SamplingParams&) {});
  for (float spread : {0.1f, 1.0f, 4.0f}) {
    add("temperature", spread, [](SamplingParams& p) { p.temperature = 0.8; });
    add("top_k", spread, [](SamplingParams& p) { p.temperature = 1, p.top_k = 40; });
    add("top_k_of_all", spread, [](SamplingParams& p) { p.temperature = 1, p.top_k = 1 << 30; });
    add("top_p", spread, [](SamplingParams& p) { p.temperature = 1, p.top_p = 0.9; });
    add("min_p", spread, [](SamplingParams& p) { p.temperature = 1, p.min_p = 0.05; });
    add("typical_p", spread, [](SamplingParams& p) { p.temperature = 1, p.typical_p = 0.5; });
    add("everything", spread, [](SamplingParams& p) {
      p.temperature = 0.7, p.top_k = 100, p.top_p = 0.95, p.min_p = 0.01, p.typical_p = 0.9;
    });
  }
  const auto penalties = [](SamplingParams& p) {
    p.temperature = 0.9, p.top_p = 0.8, p.logprobs = 5;
    p.repetition_penalty = 1.3, p.frequency_penalty = 0.2, p.presence_penalty = 0.1;
    p.logit_bias = {{17, 5.0f}, {4999, 6.0f}, {2500, -100.0f}};
    p.bad_word_ids = {{1}, {3, 2}, {9, 8}};
    p.min_tokens = 4;
  };
  add("penalties", 3, penalties);
  add("penalties_greedy", 3, [&](SamplingParams& p) { penalties(p), p.temperature = 0; });
  add("width", 3, [](SamplingParams& p) { p.temperature = 1, p.logprobs = 3; }).width = 4;
  Case& beams = add("beams", 3, [&](SamplingParams& p) { penalties(p), p.temperature = 0; });
  beams.num_candidates = 8;
  add("constraint", 3, [](SamplingParams& p) { p.temperature = 1; }).constraint = true;
  add("constraint_top_p", 0.2f, [](SamplingParams& p) {
    p.temperature = 1, p.top_p = 0.5;
  }).constraint = true;
  return all;
}

void expect_equal(const std::vector<TokenScore>& a, const std::vector<TokenScore>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].id, b[i].id);
    EXPECT_NEAR(a[i].logprob, b[i].logprob, 1e-4);
  }
}

void expect_equal(const std::vector<PositionScores>& a, const std::vector<PositionScores>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    expect_equal({a[i].token}, {b[i].token});
    expect_equal(a[i].top, b[i].top);
  }
}

class SplitLogitsTest : public testing::TestWithParam<int> {};

TEST_P(SplitLogitsTest, ChoosesWhatTheWholeVocabularyWould) {
  for (const Case& c : cases()) {
    for (uint64_t seed = 1; seed <= 6; ++seed) {
      SCOPED_TRACE(c.name + ", spread " + std::to_string(c.spread) + ", seed " +
                   std::to_string(seed));
      std::vector<float> logits = peaked_logits(2 * kVocab, static_cast<uint32_t>(seed), c.spread);
      Slices slices(logits, 2, GetParam());
      const std::vector<int32_t> tokens = {5, 3, 17, 3};
      const std::vector<int32_t> ends = {0, 1, 4999};
      std::vector<TokenCounts> counts(2, TokenCounts(tokens));
      std::vector<EveryThird> constraints(2);
      std::vector<SamplingRow> rows(2);
      for (size_t i = 0; i < 2; ++i) {
        counts[i].add_output(3);
        rows[i] = {.params = &c.params,
                   .seed = seed,
                   .step = 2,
                   .tokens = tokens,
                   .end_tokens = ends,
                   .counts = &counts[i],
                   .constraint = c.constraint ? &constraints[i] : nullptr,
                   .width = c.width,
                   .wants_logprobs = c.params.logprobs.has_value(),
                   .num_candidates = c.num_candidates};
      }
      const std::vector<int32_t> first = {1, 0};
      const auto split =
          sample_split(std::span(rows).first(1), std::span(first).first(1), slices.select());
      ThreadPool threads(1);
      Sampler sampler;
      const Tensor whole(logits.data(), DType::kF32, {2, kVocab});
      const auto expected =
          sampler.sample(whole, std::span(rows).last(1), std::vector<int32_t>{1}, threads);
      EXPECT_EQ(split[0].tokens, expected[0].tokens);
      expect_equal(split[0].logprobs, expected[0].logprobs);
      expect_equal(split[0].candidates, expected[0].candidates);
      EXPECT_EQ(constraints[0].accepted, constraints[1].accepted);
    }
  }
}

TEST_P(SplitLogitsTest, DraftsAreTakenAsLongAsTheyComeTrue) {
  const std::vector<float> logits = peaked_logits(4 * kVocab, 3, 3);
  std::vector<int32_t> best;
  for (int64_t row = 0; row < 4; ++row) {
    const auto begin = logits.begin() + row * kVocab;
    best.push_back(static_cast<int32_t>(std::max_element(begin, begin + kVocab) - begin));
  }
  const SamplingParams params;
  for (size_t right = 0; right <= 3; ++right) {
    Slices slices(logits, 4, GetParam());
    std::vector<int32_t> drafts(best.begin(), best.begin() + 3);
    if (right < 3) drafts[right] = best[right] == 0 ? 1 : 0;
    const SamplingRow row{.params = &params, .drafts = drafts};
    const auto results = sample_split({&row, 1}, std::vector<int32_t>{0}, slices.select());
    EXPECT_EQ(
        results[0].tokens,
        std::vector<int32_t>(best.begin(), best.begin() + static_cast<std::ptrdiff_t>(right) + 1));
  }
}

TEST_P(SplitLogitsTest, ScoresTokens) {
  std::vector<float> logits = peaked_logits(3 * kVocab, 5, 2);
  logits[2 * kVocab + 77] = std::nanf("");
  Slices slices(logits, 3, GetParam());
  const std::vector<int32_t> tokens = {4999, 0, 3};
  const auto split = slices.on_all<std::vector<PositionScores>>(
      [&](const Tensor& own, const VocabSlice& slice, ThreadPool& threads) {
        return score_tokens(own, 0, tokens, 4, slice, threads);
      });
  ThreadPool threads(1);
  Sampler sampler;
  const auto expected =
      sampler.score(Tensor(logits.data(), DType::kF32, {3, kVocab}), tokens, 4, threads);
  for (size_t i = 0; i < 2; ++i) {
    expect_equal(std::vector{split[i]}, std::vector{expected[i]});
  }
  EXPECT_TRUE(std::isnan(split[2].token.logprob));
}

TEST_P(SplitLogitsTest, NumbersThatAreNoneGiveNoToken) {
  for (const float wrong : {std::nanf(""), kInfinity}) {
    std::vector<float> logits = random_normal(kVocab, 9);
    logits[4000] = wrong;
    Slices slices(logits, 1, GetParam());
    const SamplingParams params;
    const SamplingRow row{.params = &params};
    const auto results = sample_split({&row, 1}, std::vector<int32_t>{0}, slices.select());
    EXPECT_EQ(results[0].tokens, std::vector<int32_t>{kNoToken});
  }
  Slices none(std::vector<float>(kVocab, -kInfinity), 1, GetParam());
  SamplingParams params;
  params.temperature = 1;
  const SamplingRow row{.params = &params};
  EXPECT_EQ(sample_split({&row, 1}, std::vector<int32_t>{0}, none.select())[0].tokens,
            std::vector<int32_t>{kNoToken});
}

// What travels is counted in tokens that somebody looks at, not in those there are.
TEST_P(SplitLogitsTest, FewBytesTravel) {
  const auto bytes_of = [&](const SamplingParams& params, float spread, int64_t vocab) {
    Slices slices(peaked_logits(vocab, 4, spread), 1, GetParam());
    const SamplingRow row{.params = &params};
    sample_split({&row, 1}, std::vector<int32_t>{0}, slices.select());
    return slices.bytes();
  };
  SamplingParams params;
  EXPECT_EQ(bytes_of(params, 3, kVocab), 28u);
  params.temperature = 1;
  EXPECT_EQ(bytes_of(params, 3, kVocab), 28u);
  params.top_k = 40;
  EXPECT_EQ(bytes_of(params, 3, kVocab), 16u + 40 * 12);
  params.top_k = 0;
  params.top_p = 0.9;
  EXPECT_EQ(bytes_of(params, 6, 100'000), 16u + 64 * 12);
}

INSTANTIATE_TEST_SUITE_P(Ranks, SplitLogitsTest, testing::Values(1, 2, 3, 8));

TEST(SplitLogits, MoreRanksThanTokensToDrawFrom) {
  const std::vector<float> logits = random_normal(70, 2);
  Slices slices(logits, 1, 8);
  SamplingParams params;
  params.temperature = 1;
  params.top_p = 0.9;
  const SamplingRow row{.params = &params, .seed = 3};
  std::vector<float> copy = logits;
  ThreadPool threads(1);
  Sampler sampler;
  const auto expected = sampler.sample(Tensor(copy.data(), DType::kF32, {1, 70}), {&row, 1},
                                       std::vector<int32_t>{0}, threads);
  EXPECT_EQ(sample_split({&row, 1}, std::vector<int32_t>{0}, slices.select())[0].tokens,
            expected[0].tokens);
}

}  // namespace
}  // namespace lanner
