// SPDX-License-Identifier: Apache-2.0
#include "sampling/logits_processors.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace lanner {
namespace {

constexpr float kForbidden = -std::numeric_limits<float>::infinity();

bool ends_with(std::span<const int32_t> tokens, std::span<const int32_t> more_tokens,
               std::span<const int32_t> end) {
  if (end.size() > tokens.size() + more_tokens.size()) return false;
  const size_t in_more = std::min(end.size(), more_tokens.size());
  const size_t in_tokens = end.size() - in_more;
  return std::ranges::equal(end.last(in_more), more_tokens.last(in_more)) &&
         std::ranges::equal(end.first(in_tokens), tokens.last(in_tokens));
}

// Calls change(logit, output_count) for every token that the row has a logit of.
template <typename Change>
void for_each_logit(std::span<float> logits, const TokenCounts& counts, Change change) {
  for (const TokenCounts::Entry& entry : counts.entries()) {
    if (entry.id < 0 || static_cast<size_t>(entry.id) >= logits.size()) continue;
    change(logits[static_cast<size_t>(entry.id)], entry.output_count);
  }
}

}  // namespace

void apply_token_mask(std::span<float> logits, std::span<const uint32_t> allowed) {
  constexpr size_t kBits = 32;
  for (size_t begin = 0; begin < logits.size(); begin += kBits) {
    const size_t word = begin / kBits;
    const uint32_t bits = word < allowed.size() ? allowed[word] : 0;
    if (bits == ~uint32_t{0}) continue;
    const size_t count = std::min(kBits, logits.size() - begin);
    for (size_t i = 0; i < count; ++i) {
      if ((bits >> i & 1) == 0) logits[begin + i] = kForbidden;
    }
  }
}

void apply_logit_bias(std::span<float> logits, std::span<const LogitBias> biases) {
  for (const LogitBias& entry : biases) {
    const auto id = static_cast<size_t>(entry.token_id);
    if (id < logits.size()) logits[id] = static_cast<float>(logits[id] + entry.bias);
  }
}

void apply_bad_words(std::span<float> logits, std::span<const std::vector<int32_t>> words,
                     std::span<const int32_t> tokens, std::span<const int32_t> more_tokens) {
  ban_tokens(logits, bad_word_ends(words, tokens, more_tokens));
}

std::vector<int32_t> bad_word_ends(std::span<const std::vector<int32_t>> words,
                                   std::span<const int32_t> tokens,
                                   std::span<const int32_t> more_tokens) {
  std::vector<int32_t> ends;
  for (const std::vector<int32_t>& word : words) {
    const std::span<const int32_t> ids(word);
    if (ends_with(tokens, more_tokens, ids.first(ids.size() - 1))) ends.push_back(word.back());
  }
  return ends;
}

void ban_tokens(std::span<float> logits, std::span<const int32_t> tokens) {
  for (const int32_t id : tokens) {
    if (static_cast<size_t>(id) < logits.size()) logits[static_cast<size_t>(id)] = kForbidden;
  }
}

void apply_repetition_penalty(std::span<float> logits, const TokenCounts& counts, double penalty) {
  if (penalty == 1) return;
  for_each_logit(logits, counts, [penalty](float& logit, int) {
    logit = static_cast<float>(logit < 0 ? logit * penalty : logit / penalty);
  });
}

void apply_frequency_penalty(std::span<float> logits, const TokenCounts& counts, double penalty) {
  if (penalty == 0) return;
  for_each_logit(logits, counts, [penalty](float& logit, int count) {
    logit = static_cast<float>(logit - penalty * count);
  });
}

void apply_presence_penalty(std::span<float> logits, const TokenCounts& counts, double penalty) {
  if (penalty == 0) return;
  for_each_logit(logits, counts, [penalty](float& logit, int count) {
    if (count > 0) logit = static_cast<float>(logit - penalty);
  });
}

void apply_temperature(Candidates& candidates, double temperature) {
  candidates.set_temperature(temperature);
}

void apply_top_k(Candidates& candidates, int k) {
  if (k > 0) candidates.keep_first(static_cast<size_t>(k));
}

void apply_top_p(Candidates& candidates, double p) {
  if (p < 1) candidates.keep_weight(p * candidates.total_weight());
}

void apply_min_p(Candidates& candidates, double min_p) {
  if (min_p <= 0) return;
  candidates.keep_from(
      static_cast<float>(candidates.best_logit() + candidates.temperature() * std::log(min_p)));
}

void apply_typical_p(Candidates& candidates, double p) {
  if (p < 1) candidates.keep_typical(p);
}

void narrow(Candidates& candidates, const SamplingParams& params) {
  apply_temperature(candidates, params.temperature);
  apply_top_k(candidates, params.top_k);
  apply_top_p(candidates, params.top_p);
  apply_min_p(candidates, params.min_p);
  apply_typical_p(candidates, params.typical_p);
}

bool has_penalties(const SamplingParams& params) {
  return params.repetition_penalty != 1 || params.frequency_penalty != 0 ||
         params.presence_penalty != 0;
}

}  // namespace lanner
