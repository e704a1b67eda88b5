// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lanner/sampling_params.h"
#include "sampling/candidates.h"
#include "sampling/token_counts.h"

namespace lanner {

// The logits processors, in the order in which they apply (HF's): first those that change logits,
// [vocab_size], then those that narrow down what can be drawn. Each does nothing at its default
// value.

// Forbids tokens without their bit (TokenConstraint::allowed).
void apply_token_mask(std::span<float> logits, std::span<const uint32_t> allowed);
// Adds to the logits of single tokens (OpenAI).
void apply_logit_bias(std::span<float> logits, std::span<const LogitBias> biases);
// Forbids the last token of each word that the sequence, tokens and then more_tokens, ends with the
// others of (HF NoBadWordsLogitsProcessor).
void apply_bad_words(std::span<float> logits, std::span<const std::vector<int32_t>> words,
                     std::span<const int32_t> tokens, std::span<const int32_t> more_tokens);
// The tokens that it forbids.
std::vector<int32_t> bad_word_ends(std::span<const std::vector<int32_t>> words,
                                   std::span<const int32_t> tokens,
                                   std::span<const int32_t> more_tokens);
// Forbids tokens.
void ban_tokens(std::span<float> logits, std::span<const int32_t> tokens);
// Divides positive and multiplies negative logits of tokens in prompt or output (Keskar et al.
// 2019, arXiv 1909.05858; HF RepetitionPenaltyLogitsProcessor).
void apply_repetition_penalty(std::span<float> logits, const TokenCounts& counts, double penalty);
// Subtracts the penalty once per occurrence in the output (OpenAI).
void apply_frequency_penalty(std::span<float> logits, const TokenCounts& counts, double penalty);
// Subtracts the penalty if the token is in the output (OpenAI).
void apply_presence_penalty(std::span<float> logits, const TokenCounts& counts, double penalty);

// Divides logits by the temperature (> 0).
void apply_temperature(Candidates& candidates, double temperature);
// Keeps the k first; 0 keeps all.
void apply_top_k(Candidates& candidates, int k);
// Keeps the fewest first candidates that hold at least p of what probability there still is
// (Holtzman et al. 2019, arXiv 1904.09751).
void apply_top_p(Candidates& candidates, double p);
// Keeps candidates at least min_p times as probable as the best one (Nguyen et al. 2024, arXiv
// 2407.01082).
void apply_min_p(Candidates& candidates, double min_p);

// Keeps the candidates whose surprise is nearest to the expected one, the fewest that hold at least
// p of the probability (Meister et al. 2022, arXiv 2202.00666; HF TypicalLogitsWarper).
void apply_typical_p(Candidates& candidates, double p);

// The last five in order: all that narrows down what is drawn at a temperature above 0.
void narrow(Candidates& candidates, const SamplingParams& params);

// Whether any of the penalties is on, so that the sequence needs TokenCounts.
bool has_penalties(const SamplingParams& params);

}  // namespace lanner
