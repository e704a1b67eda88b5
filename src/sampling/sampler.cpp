// SPDX-License-Identifier: Apache-2.0
#include "sampling/sampler.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <limits>

#include "base/error.h"
#include "sampling/logits_processors.h"
#include "sampling/philox.h"

namespace lanner {
namespace {

// Logarithm of the sum of e^logit over the candidates, which must be those of reset().
double log_sum(Candidates& candidates) {
  return candidates.best_logit() + std::log(candidates.total_weight());
}

std::vector<TokenScore> best_scores(Candidates& candidates, int count, double log_total) {
  std::vector<TokenScore> best;
  for (size_t i = 0; i < std::min(static_cast<size_t>(count), candidates.size()); ++i) {
    const Candidate& candidate = candidates.nth(i);
    if (candidate.logit == -std::numeric_limits<float>::infinity()) break;
    best.push_back({candidate.id, candidate.logit - log_total});
  }
  return best;
}

// One sequence: its rows, one after another as long as its drafts come true.
class RowSampler {
 public:
  RowSampler(const SamplingRow& row, Candidates& candidates) : row_(row), candidates_(candidates) {}

  SamplingResult run(const Tensor& logits, int64_t first_row) {
    const auto vocab_size = static_cast<size_t>(logits.size(-1));
    try {
      for (size_t i = 0; i <= row_.drafts.size(); ++i) {
        const std::span<float> values(logits.row<float>(first_row + static_cast<int64_t>(i)),
                                      vocab_size);
        if (row_.num_candidates > 0) {
          rank(values);
          return std::move(result_);
        }
        if (!sample(values, i) || row_.width > 1) return std::move(result_);
        if (i < row_.drafts.size() && result_.tokens.back() != row_.drafts[i]) break;
      }
      add_forced();
    } catch (const std::exception& e) {
      result_.tokens = {kNoToken};
      result_.logprobs.clear();
      result_.error = e.what();
    }
    return std::move(result_);
  }

 private:
  const SamplingParams& params() const { return *row_.params; }
  uint64_t step() const { return row_.step + result_.tokens.size(); }

  // After the first `index` drafts. False: there is no token.
  bool sample(std::span<float> logits, size_t index) {
    PositionScores scores;
    double log_total = 0;
    std::vector<float> raw;
    if (row_.wants_logprobs) {
      if (!candidates_.reset(logits)) return no_token();
      log_total = log_sum(candidates_);
      scores.top = best_scores(candidates_, params().logprobs.value_or(0), log_total);
      raw.assign(logits.begin(), logits.end());
    }
    process(logits);
    if (!candidates_.reset(logits)) return no_token();
    if (params().temperature > 0) narrow(candidates_, params());
    if (row_.wants_distribution) candidates_.probabilities(result_.distribution);
    const uint64_t at = step();
    for (int i = 0; i < row_.width; ++i) {
      const int32_t token = choose(at, row_.stream + static_cast<uint32_t>(i), index);
      result_.tokens.push_back(token);
      if (!row_.wants_logprobs) continue;
      scores.token = {token, raw[static_cast<size_t>(token)] - log_total};
      result_.logprobs.push_back(scores);
    }
    if (row_.width == 1) accept(result_.tokens.back());
    return true;
  }

  int32_t choose(uint64_t at, uint32_t stream, size_t index) {
    if (params().temperature == 0) return candidates_.best();
    const Draw draw = row_.wants_distribution ? Draw::kDraft : Draw::kToken;
    const double uniform = uniform_at(row_.seed, at, stream, draw);
    if (index >= row_.distributions.size()) return candidates_.draw(uniform);
    // The draft x, drawn with probability q(x), is taken with min(1, p(x) / q(x)); else the token
    // comes from what p has more than q.
    const DraftDistribution& q = row_.distributions[index];
    const auto draft = static_cast<size_t>(row_.drafts[index]);
    std::vector<float> p;
    candidates_.probabilities(p);
    const double accept = uniform_at(row_.seed, at, stream, Draw::kAccept);
    if (accept * q.at(draft) < p.at(draft)) return row_.drafts[index];
    double total = 0;
    for (size_t i = 0; i < p.size(); ++i) {
      if (i < q.size()) p[i] = std::max(p[i] - q[i], 0.0f);
      total += p[i];
    }
    double sum = 0;
    for (size_t i = 0; i < p.size(); ++i) {
      sum += p[i];
      if (p[i] > 0 && sum > uniform * total) return static_cast<int32_t>(i);
    }
    return candidates_.draw(uniform);  // p and q are equal but for their rounding
  }

  void rank(std::span<float> logits) {
    if (!candidates_.reset(logits)) return static_cast<void>(no_token());
    const auto log_total = static_cast<float>(log_sum(candidates_));
    PositionScores scores;
    std::vector<float> raw;
    if (row_.wants_logprobs) {
      scores.top = best_scores(candidates_, params().logprobs.value_or(0), log_total);
      raw.assign(logits.begin(), logits.end());
    }
    for (float& logit : logits) logit -= log_total;
    process(logits);
    if (!candidates_.reset(logits)) return static_cast<void>(no_token());
    result_.candidates = best_scores(candidates_, row_.num_candidates, 0.0);
    if (!row_.wants_logprobs) return;
    for (const TokenScore& candidate : result_.candidates) {
      scores.token = {candidate.id, raw[static_cast<size_t>(candidate.id)] - log_total};
      result_.logprobs.push_back(scores);
    }
  }

  bool no_token() {
    result_.tokens.push_back(kNoToken);
    return false;
  }

  // Everything that changes logits.
  void process(std::span<float> logits) {
    if (row_.constraint != nullptr) apply_token_mask(logits, row_.constraint->allowed());
    apply_logit_bias(logits, params().logit_bias);
    if (!params().bad_word_ids.empty()) {
      apply_bad_words(logits, params().bad_word_ids, row_.tokens, result_.tokens);
    }
    if (step() < static_cast<uint64_t>(params().min_tokens)) ban_tokens(logits, row_.end_tokens);
    if (!has_penalties(params())) return;
    apply_repetition_penalty(logits, *row_.counts, params().repetition_penalty);
    apply_frequency_penalty(logits, *row_.counts, params().frequency_penalty);
    apply_presence_penalty(logits, *row_.counts, params().presence_penalty);
  }

  void accept(int32_t token) {
    if (row_.counts != nullptr) row_.counts->add_output(token);
    if (row_.constraint != nullptr) row_.constraint->accept(token);
  }

  // Tokens that nobody draws have no log-probability: where those are wanted, they are drawn.
  void add_forced() {
    if (row_.constraint == nullptr || row_.wants_logprobs || row_.is_draft) return;
    for (const int32_t token : row_.constraint->forced()) {
      result_.tokens.push_back(token);
      accept(token);
    }
  }

  const SamplingRow& row_;
  Candidates& candidates_;
  SamplingResult result_;
};

void check_logits(const Tensor& logits) {
  check_argument(logits.dtype() == DType::kF32, "[sampling] logits are {}, expected fp32",
                 logits.dtype());
  check_argument(logits.shape().rank() == 2, "[sampling] logits are {}, expected rows",
                 logits.shape());
}

}  // namespace

std::vector<Candidates>& Sampler::scratch(const ThreadPool& threads) {
  if (scratch_.size() < static_cast<size_t>(threads.size())) {
    scratch_.resize(static_cast<size_t>(threads.size()));
  }
  return scratch_;
}

std::vector<SamplingResult> Sampler::sample(const Tensor& logits, std::span<const SamplingRow> rows,
                                            std::span<const int32_t> first_rows,
                                            ThreadPool& threads) {
  if (rows.empty()) return {};
  check_logits(logits);
  check_argument(rows.size() == first_rows.size(), "[sampling] {} sequences have {} first rows",
                 rows.size(), first_rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    LANNER_CHECK(rows[i].params != nullptr && rows[i].width >= 1);
    LANNER_CHECK(rows[i].counts != nullptr || !has_penalties(*rows[i].params));
    const int64_t end = first_rows[i] + std::ssize(rows[i].drafts) + 1;
    check_argument(first_rows[i] >= 0 && end <= logits.num_rows(),
                   "[sampling] logits are {}, expected at least {} rows", logits.shape(), end);
  }
  std::vector<SamplingResult> results(rows.size());
  std::vector<Candidates>& candidates = scratch(threads);
  threads.parallel_for_dynamic(std::ssize(rows), 1, [&](int64_t begin, int64_t end, int thread) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      results[i] =
          RowSampler(rows[i], candidates[static_cast<size_t>(thread)]).run(logits, first_rows[i]);
    }
  });
  return results;
}

std::vector<PositionScores> Sampler::score(const Tensor& logits, std::span<const int32_t> tokens,
                                           int num_top, ThreadPool& threads) {
  if (tokens.empty()) return {};
  check_logits(logits);
  check_argument(std::ssize(tokens) <= logits.num_rows(),
                 "[sampling] logits are {}, expected {} rows", logits.shape(), tokens.size());
  std::vector<PositionScores> scores(tokens.size());
  std::vector<Candidates>& candidates = scratch(threads);
  const auto vocab_size = static_cast<size_t>(logits.size(-1));
  threads.parallel_for_dynamic(std::ssize(tokens), 1, [&](int64_t begin, int64_t end, int thread) {
    Candidates& row = candidates[static_cast<size_t>(thread)];
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      const float* values = logits.row<float>(static_cast<int64_t>(i));
      scores[i].token = {tokens[i], std::numeric_limits<double>::quiet_NaN()};
      if (!row.reset({values, vocab_size})) continue;
      const double log_total = log_sum(row);
      scores[i].token.logprob = values[tokens[i]] - log_total;
      scores[i].top = best_scores(row, num_top, log_total);
    }
  });
  return scores;
}

}  // namespace lanner
