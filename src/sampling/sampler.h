// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/tensor.h"
#include "base/thread_pool.h"
#include "lanner/sampling_params.h"
#include "sampling/candidates.h"
#include "sampling/token_constraint.h"
#include "sampling/token_counts.h"

namespace lanner {

// Instead of a token id: the row's logits allow none (NaN, +infinity, or -infinity only).
inline constexpr int32_t kNoToken = -1;

// The probabilities that a draft was drawn with, [tokens that could be proposed].
using DraftDistribution = std::vector<float>;

// What a sequence is sampled with. It has 1 + drafts.size() rows of logits: those after its last
// token and after each draft.
struct SamplingRow {
  const SamplingParams* params = nullptr;    // validated
  uint64_t seed = 0;                         // of the request
  uint32_t stream = 0;                       // which of its sequences: each draws its own numbers
  uint64_t step = 0;                         // output tokens so far
  std::span<const int32_t> tokens = {};      // prompt and output so far: for bad_word_ids
  std::span<const int32_t> end_tokens = {};  // what must not come before min_tokens
  TokenCounts* counts = nullptr;             // needed if has_penalties(*params)
  TokenConstraint* constraint = nullptr;     // none: every token may come
  std::span<const int32_t> drafts = {};      // accepted as long as they are what is sampled
  // Of the first of the drafts: these were drawn, and are accepted by modified rejection sampling
  // (Leviathan et al. 2023, arXiv 2211.17192; Chen et al. 2023, arXiv 2302.01318).
  std::span<const DraftDistribution> distributions = {};
  int width = 1;  // above 1: the first tokens of so many sequences from one row, streams 0, 1, …
  bool wants_logprobs = false;  // of the tokens, and as many of the best as params->logprobs says
  int num_candidates = 0;       // above 0: no token, but so many of the best for a beam search
  // What is sampled is a draft: no forced tokens follow it.
  bool is_draft = false;
  // Such a draft is drawn with numbers of its own and comes with its distribution. Without, it is
  // drawn with the numbers that the token itself will be drawn with.
  bool wants_distribution = false;
};

struct TokenScore {
  int32_t id = 0;
  double logprob = 0;
};

// A token's log-probability in the model's own distribution, and the best ones at its place.
struct PositionScores {
  TokenScore token;
  std::vector<TokenScore> top;
};

struct SamplingResult {
  // Accepted drafts, then what was sampled, then what is certain to follow; or `width` tokens.
  // kNoToken where nothing can be drawn.
  std::vector<int32_t> tokens;
  std::vector<PositionScores> logprobs;  // per token or candidate, if wanted
  // The best after the logits processors, which change log-probabilities here as HF has it.
  std::vector<TokenScore> candidates;
  DraftDistribution distribution;  // if wanted
  std::string error;               // of the constraint
};

// Chooses the next tokens of every sequence by its own parameters. The result depends on the
// sequence's logits, parameters, seed and step only: not on the others, nor on the number of
// threads. A draft is accepted if it is the token that is sampled, so that drafts change nothing
// but the number of steps; where drafts were drawn from a distribution, the distribution of the
// tokens stays the same, and not each token. Keeps scratch memory from step to step; one caller at
// a time.
class Sampler {
 public:
  //   logits   [num_rows, vocab_size] fp32, any row stride; processors change them in place
  //   rows     their logits follow one another, from row first_rows[i] on
  //   returns  [rows]; with a width of 1 counts and constraint have got the tokens too
  //
  // Throws Error(kInvalidArgument) when shapes or types do not match.
  std::vector<SamplingResult> sample(const Tensor& logits, std::span<const SamplingRow> rows,
                                     std::span<const int32_t> first_rows, ThreadPool& threads);

  // The log-probability of each given token and the `num_top` best ones, row by row.
  std::vector<PositionScores> score(const Tensor& logits, std::span<const int32_t> tokens,
                                    int num_top, ThreadPool& threads);

 private:
  std::vector<Candidates>& scratch(const ThreadPool& threads);

  std::vector<Candidates> scratch_;  // one per thread
};

}  // namespace lanner
