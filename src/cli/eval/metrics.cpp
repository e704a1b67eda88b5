// SPDX-License-Identifier: Apache-2.0
#include "cli/eval/metrics.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

#include "cli/failure.h"

namespace lanner::cli {
namespace {

// ln of the sum of exp(logits).
double log_sum_exp(std::span<const float> logits) {
  const float max = *std::ranges::max_element(logits);
  double sum = 0;
  for (float logit : logits) sum += static_cast<double>(std::exp(logit - max));
  return static_cast<double>(max) + std::log(sum);
}

}  // namespace

std::vector<EvalWindow> eval_windows(std::span<const int32_t> ids, std::span<const int32_t> prefix,
                                     size_t window, size_t stride) {
  if (window < prefix.size() + 2 || stride < 1 ||
      stride > window - std::max<size_t>(prefix.size(), 1)) {
    throw usage_failure(
        fmt::format("a window of {} tokens and a stride of {} do not go together: the stride is at "
                    "least 1 and less than the window, without its {} special tokens",
                    window, stride, prefix.size()));
  }
  if (ids.size() + prefix.size() < 2) {
    throw usage_failure("the text has fewer than two tokens: there is nothing to predict");
  }
  std::vector<EvalWindow> windows;
  const size_t room = window - prefix.size();
  size_t scored = 0;
  for (size_t begin = 0; scored < ids.size(); begin += stride) {
    const size_t end = std::min(begin + room, ids.size());
    EvalWindow& next = windows.emplace_back();
    next.tokens.assign(prefix.begin(), prefix.end());
    next.tokens.insert(next.tokens.end(), ids.begin() + static_cast<std::ptrdiff_t>(begin),
                       ids.begin() + static_cast<std::ptrdiff_t>(end));
    next.score_from = std::max<size_t>(scored - begin + prefix.size(), 1);
    scored = end;
  }
  return windows;
}

double negative_log_likelihood(std::span<const float> logits, int32_t token) {
  return log_sum_exp(logits) - static_cast<double>(logits[static_cast<size_t>(token)]);
}

Divergence compare(std::span<const float> reference, std::span<const float> logits, int32_t token) {
  const float max = *std::ranges::max_element(reference);
  double sum = 0;
  double difference = 0;  // sum of exp(reference - max) * (reference - logits)
  for (size_t i = 0; i < reference.size(); ++i) {
    const double weight = static_cast<double>(std::exp(reference[i] - max));
    sum += weight;
    difference += weight * (static_cast<double>(reference[i]) - static_cast<double>(logits[i]));
  }
  const double reference_sum = static_cast<double>(max) + std::log(sum);
  const double logits_sum = log_sum_exp(logits);
  const auto at = static_cast<size_t>(token);
  return {.kl = difference / sum - reference_sum + logits_sum,
          .same_top1 = std::ranges::max_element(reference) - reference.begin() ==
                       std::ranges::max_element(logits) - logits.begin(),
          .reference_nll = reference_sum - static_cast<double>(reference[at]),
          .nll = logits_sum - static_cast<double>(logits[at])};
}

void DivergenceTally::add(const Divergence& divergence) {
  kl_.push_back(divergence.kl);
  same_top1_ += divergence.same_top1 ? 1 : 0;
  reference_nll_ += divergence.reference_nll;
  nll_ += divergence.nll;
}

double DivergenceTally::mean_kl() const {
  return std::accumulate(kl_.begin(), kl_.end(), 0.0) / static_cast<double>(kl_.size());
}

double DivergenceTally::p99_kl() const {
  if (kl_.empty()) return std::nan("");
  std::vector<double> sorted = kl_;
  const auto rank = static_cast<size_t>(std::ceil(0.99 * static_cast<double>(sorted.size()))) - 1;
  std::ranges::nth_element(sorted, sorted.begin() + static_cast<std::ptrdiff_t>(rank));
  return sorted[rank];
}

double DivergenceTally::top1_agreement() const {
  return static_cast<double>(same_top1_) / static_cast<double>(kl_.size());
}

double DivergenceTally::reference_perplexity() const {
  return std::exp(reference_nll_ / static_cast<double>(kl_.size()));
}

double DivergenceTally::perplexity() const {
  return std::exp(nll_ / static_cast<double>(kl_.size()));
}

}  // namespace lanner::cli
