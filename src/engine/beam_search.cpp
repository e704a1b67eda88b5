// SPDX-License-Identifier: Apache-2.0
#include "engine/beam_search.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>

#include "base/error.h"

namespace lanner {

BeamSearch::BeamSearch(const SamplingParams& sampling, std::vector<int32_t> end_tokens,
                       int max_tokens)
    : sampling_(sampling),
      end_tokens_(std::move(end_tokens)),
      max_tokens_(static_cast<size_t>(max_tokens)) {
  restart();
}

void BeamSearch::restart() {
  running_.assign(1, Beam{});
  finished_.clear();
}

int BeamSearch::num_candidates() const {
  return sampling_.beam_width * std::max(2, 1 + static_cast<int>(end_tokens_.size()));
}

double BeamSearch::score(double sum, size_t length) const {
  return sum / std::pow(static_cast<double>(length), sampling_.length_penalty);
}

bool BeamSearch::advance(std::span<const std::vector<TokenScore>> candidates,
                         std::span<const std::vector<PositionScores>> logprobs) {
  LANNER_CHECK(candidates.size() == running_.size());
  LANNER_CHECK(logprobs.empty() || logprobs.size() == running_.size());
  struct Option {
    double sum;
    size_t parent;
    size_t candidate;
    int32_t token;
  };
  std::vector<Option> options;
  for (size_t i = 0; i < candidates.size(); ++i) {
    for (size_t j = 0; j < candidates[i].size(); ++j) {
      const TokenScore& candidate = candidates[i][j];
      options.push_back({running_[i].sum + candidate.logprob, i, j, candidate.id});
    }
  }
  std::ranges::stable_sort(options, [](const Option& a, const Option& b) { return a.sum > b.sum; });
  const auto width = static_cast<size_t>(sampling_.beam_width);
  options.resize(std::min(options.size(), static_cast<size_t>(num_candidates())));

  const auto grown = [&](const Option& option) {
    Beam beam = running_[option.parent];
    beam.tokens.push_back(option.token);
    beam.sum = option.sum;
    if (!logprobs.empty()) beam.logprobs.push_back(logprobs[option.parent][option.candidate]);
    return beam;
  };
  std::vector<Beam> next;
  parents_.clear();
  next_tokens_.clear();
  for (size_t rank = 0; rank < options.size() && next.size() < width; ++rank) {
    const Option& option = options[rank];
    if (std::ranges::find(end_tokens_, option.token) != end_tokens_.end()) {
      // One that is not among the best by now would not have been found by a narrower search.
      if (rank >= width) continue;
      Beam beam = grown(option);
      beam.at_end_token = true;
      finish(std::move(beam));
      continue;
    }
    next.push_back(grown(option));
    parents_.push_back(static_cast<int32_t>(option.parent));
    next_tokens_.push_back(option.token);
  }
  const size_t length = running_.front().tokens.size() + 1;
  const double best_sum = options.empty() ? 0 : options.front().sum;
  running_ = std::move(next);
  if (is_done(best_sum, length)) return false;
  if (running_.size() == width && length < max_tokens_) return true;
  // The context is full, or too few tokens are possible at all.
  for (Beam& beam : running_) finish(std::move(beam));
  return false;
}

void BeamSearch::finish(Beam beam) {
  beam.score = score(beam.sum, beam.tokens.size());
  const auto at = std::ranges::upper_bound(finished_, beam.score, std::greater{}, &Beam::score);
  finished_.insert(at, std::move(beam));
  if (finished_.size() > static_cast<size_t>(sampling_.beam_width)) finished_.pop_back();
}

bool BeamSearch::is_done(double best_sum, size_t length) const {
  if (finished_.size() < static_cast<size_t>(sampling_.beam_width)) return false;
  const double worst = finished_.back().score;
  switch (sampling_.early_stopping) {
    case EarlyStopping::kAlways:
      return true;
    case EarlyStopping::kHeuristic:
      return worst >= score(best_sum, length);
    case EarlyStopping::kNever:
      return worst >= score(best_sum, sampling_.length_penalty > 0 ? max_tokens_ : length);
  }
  return true;
}

std::vector<BeamSearch::Beam> BeamSearch::best() const {
  const auto count = std::min(finished_.size(), static_cast<size_t>(sampling_.n));
  return {finished_.begin(), finished_.begin() + static_cast<std::ptrdiff_t>(count)};
}

}  // namespace lanner
