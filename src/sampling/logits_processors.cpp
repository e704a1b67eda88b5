// SPDX-License-Identifier: Apache-2.0
#include "sampling/logits_processors.h"

#include <cmath>

namespace lanner {
namespace {

// Calls change(logit, output_count) for every token that the row has a logit of.
template <typename Change>
void for_each_logit(std::span<float> logits, const TokenCounts& counts, Change change) {
  for (const TokenCounts::Entry& entry : counts.entries()) {
    if (entry.id < 0 || static_cast<size_t>(entry.id) >= logits.size()) continue;
    change(logits[static_cast<size_t>(entry.id)], entry.output_count);
  }
}

}  // namespace

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

bool has_penalties(const SamplingParams& params) {
  return params.repetition_penalty != 1 || params.frequency_penalty != 0 ||
         params.presence_penalty != 0;
}

}  // namespace lanner
