// SPDX-License-Identifier: Apache-2.0
// Choosing tokens where every rank has the logits of a part of the vocabulary. No rank sees
// another's logits: each changes and orders its own, and what travels are its best ones with their
// ids and the sum of the weights of all. All ranks call the same functions with the same arguments,
// and rank 0 gets the result.
//
// What a row needs of the others is exact, not a guess that a long tail could refute:
//   greedy, beams, top-k   as many of each rank's best as are wanted together
//   neither, at some       the sums say whose part the drawn number falls into; that rank draws
//   temperature
//   top-p, min-p           the best 64 of each rank; eight times as many as long as the last of
//                          them might still belong
//   typical-p alone        knows no order to stop in: all that are possible travel
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/tensor.h"
#include "base/thread_pool.h"
#include "sampling/sampler.h"

namespace lanner {

// A rank's part of the vocabulary, and how ranks exchange what they know: as many bytes of each,
// rank after rank.
struct VocabSlice {
  int32_t begin = 0;  // a multiple of 32
  int32_t size = 0;
  int32_t largest = 0;     // the size of the largest part
  int32_t vocab_size = 0;  // of all parts together
  int rank = 0;
  int num_ranks = 1;
  std::function<void(std::span<const std::byte> mine, std::span<std::byte> all)> all_gather;
};

// What the logits of one row go through before one is chosen, for the whole vocabulary.
struct LogitEdits {
  bool has_mask = false;
  std::vector<uint32_t> mask;  // TokenConstraint::allowed
  std::vector<LogitBias> biases;
  std::vector<int32_t> banned;
  std::vector<TokenCounts::Entry> counts;  // for the penalties
  double repetition_penalty = 1;
  double frequency_penalty = 0;
  double presence_penalty = 0;
};

// What is to be chosen from one row.
struct RowSelection {
  int32_t row = 0;  // of the logits
  double temperature = 0;
  int32_t top_k = 0;
  double top_p = 1;
  double min_p = 0;
  double typical_p = 1;
  std::vector<double> uniforms;  // in [0, 1), one per token to draw; greedy: as many of the best
  int32_t num_candidates = 0;    // above 0: instead, so many of the best for a beam search
  bool wants_logprobs = false;
  int32_t num_logprobs = 0;
  LogitEdits edits;
};

struct RowChoice {
  std::vector<int32_t> tokens;  // none: nothing can be drawn
  std::vector<PositionScores> logprobs;
  std::vector<TokenScore> candidates;
};

// logits [num_rows, slice.size] fp32, any row stride, changed in place. Returns [rows], on rank 0.
std::vector<RowChoice> select_tokens(const Tensor& logits, std::span<const RowSelection> rows,
                                     const VocabSlice& slice, ThreadPool& threads);

// Sampler::score: row first_row + i tells of tokens[i].
std::vector<PositionScores> score_tokens(const Tensor& logits, int64_t first_row,
                                         std::span<const int32_t> tokens, int num_top,
                                         const VocabSlice& slice, ThreadPool& threads);

// Sampler::sample on rank 0: what `select` chooses from the rows is asked for draft by draft, of
// all sequences at once.
using SelectTokens = std::function<std::vector<RowChoice>(const std::vector<RowSelection>&)>;
std::vector<SamplingResult> sample_split(std::span<const SamplingRow> rows,
                                         std::span<const int32_t> first_rows,
                                         const SelectTokens& select);

}  // namespace lanner
