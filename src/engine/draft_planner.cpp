// SPDX-License-Identifier: Apache-2.0
#include "engine/draft_planner.h"

#include <algorithm>
#include <bit>

namespace lanner {
namespace {

constexpr int64_t kKeptFor = 512;  // steps
// Of a size that has not run: the part of a step that each further row is taken to cost.
constexpr double kUnknownRow = 1.0 / 32;
// Of a draft model that has not run: the part of a step that a pass is taken to cost.
constexpr double kUnknownPass = 0.2;

}  // namespace

// All sizes up to 16, then eight to a doubling.
int StepCosts::bucket(int rows) {
  if (rows <= 16) return rows;
  const int step = 1 << (std::bit_width(static_cast<unsigned>(rows)) - 4);
  return (rows + step - 1) / step * step;
}

void StepCosts::note(int rows, double seconds) {
  ++notes_;
  Cost& cost = costs_[bucket(rows)];
  if (notes_ - cost.at > kKeptFor) cost = {};
  ++cost.samples;
  cost.at = notes_;
  // The first of its size also pays for memory that is new: it does not count for much. A step in
  // which the machine did something else counts for little more than the others.
  if (cost.samples <= 2) {
    cost.seconds = cost.samples == 1 ? seconds : std::min(cost.seconds, seconds);
  } else {
    cost.seconds += 0.2 * (std::min(seconds, 1.5 * cost.seconds) - cost.seconds);
  }
}

bool StepCosts::knows(int rows) const {
  constexpr int64_t kLately = kKeptFor / 4;
  const auto it = costs_.find(bucket(rows));
  return it != costs_.end() && it->second.samples >= 2 && notes_ - it->second.at <= kLately;
}

double StepCosts::of(int rows) const {
  const int wanted = bucket(rows);
  int below = 0;
  double below_seconds = 0;
  for (const auto& [size, cost] : costs_) {
    if (cost.samples < 2 || notes_ - cost.at > kKeptFor) continue;
    if (size >= wanted) {
      if (size == wanted || below == 0) return std::max(cost.seconds, below_seconds);
      const double part = static_cast<double>(wanted - below) / (size - below);
      return below_seconds + part * std::max(cost.seconds - below_seconds, 0.0);
    }
    below = size;
    below_seconds = std::max(below_seconds, cost.seconds);  // more rows never cost less
  }
  return below_seconds * (1 + kUnknownRow * (wanted - below));
}

void DraftPlanner::note_step(const Step& step) {
  constexpr double kPaidBack = 0.01;
  constexpr double kMostLoss = 4;  // in one step: more is the machine's doing
  constexpr double kMostDebt = 16;
  const double plain = steps_.of(step.sequences);
  if (plain > 0) {
    // As steps without drafts would have taken for these tokens.
    const double worth = static_cast<double>(step.new_tokens) / step.sequences;
    const double paid =
        (step.rows > step.sequences ? step.seconds / plain : worth) + step.draft_seconds / plain;
    credit_ += kPaidBack + std::max(worth - paid, -kMostLoss);
    credit_ = std::clamp(credit_, -kMostDebt, kMostCredit);
  }
  steps_.note(step.rows, step.seconds);
}

void DraftPlanner::note_catch_up(int tokens, double seconds) {
  const double each = seconds / tokens;
  // Few tokens cost much each: what is planned with are long gaps.
  const double newest = std::min(tokens / 256.0, 1.0);
  catch_up_seconds_ += (catch_up_seconds_ == 0 ? 1.0 : newest) * (each - catch_up_seconds_);
}

double DraftPlanner::seconds(int sequences, const Drafts& drafts) const {
  double total = steps_.of(sequences + drafts.rows) + drafts.catch_up;
  if (drafts.passes > 0) {
    const double pass = passes_.of(drafts.by_model);
    total += drafts.passes * (pass > 0 ? pass : kUnknownPass * steps_.of(sequences));
  }
  return total;
}

std::vector<int> DraftPlanner::plan(std::span<const Proposal> proposals) const {
  // Drafts that gain less than this are not worth what the estimates may be wrong by.
  constexpr double kLeastGain = 1.03;
  constexpr double kLeastGainInDebt = 1.5;
  constexpr int kHorizon = 128;  // tokens that may pay back what a draft model has to catch up with

  const auto num_sequences = static_cast<int>(proposals.size());
  std::vector<int> counts(proposals.size());
  // What drafts are compared with has to be known.
  if (!steps_.knows(num_sequences)) return counts;

  struct Draft {
    double chance;  // to be accepted
    size_t proposal;
  };
  std::vector<Draft> all;
  for (size_t i = 0; i < proposals.size(); ++i) {
    double chance = 1;
    for (int j = 0; j < proposals[i].most; ++j) {
      chance *= proposals[i].chances[static_cast<size_t>(j)];
      all.push_back({chance, i});
    }
  }
  std::ranges::stable_sort(all, std::ranges::greater(), &Draft::chance);

  // The likeliest first, as many as give the most tokens per second.
  const double plain_speed = num_sequences / steps_.of(num_sequences);
  double best_speed = (credit_ < 0 ? kLeastGainInDebt : kLeastGain) * plain_speed;
  size_t num_best = 0;
  double tokens = num_sequences;
  Drafts drafts;
  for (size_t i = 0; i < all.size(); ++i) {
    const Proposal& proposal = proposals[all[i].proposal];
    int& count = counts[all[i].proposal];
    ++count;
    ++drafts.rows;
    tokens += all[i].chance;
    if (proposal.by_model) {
      drafts.passes = std::max(drafts.passes, count);
      drafts.by_model += count == 1 ? 1 : 0;
      // Of each token that comes of it.
      const double share =
          proposal.missing * catch_up_seconds_ / std::clamp(proposal.remaining, 1, kHorizon);
      drafts.catch_up += share * (count == 1 ? 1 + all[i].chance : all[i].chance);
    }
    const double speed = tokens / seconds(num_sequences, drafts);
    if (speed <= best_speed) continue;
    best_speed = speed;
    num_best = i + 1;
  }
  for (size_t i = num_best; i < all.size(); ++i) --counts[all[i].proposal];
  return counts;
}

}  // namespace lanner
