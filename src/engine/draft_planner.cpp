// SPDX-License-Identifier: Apache-2.0
#include "engine/draft_planner.h"

#include <algorithm>
#include <bit>

namespace lanner {
namespace {

constexpr int64_t kKeptFor = 512;  // steps

}  // namespace

void AcceptanceRate::learn(int proposed, int accepted) {
  if (proposed == 0) return;
  constexpr double kNew = 0.1;  // the weight of one token
  for (int i = 0; i < std::min(accepted + 1, proposed); ++i) {
    rate_ += kNew * ((i < accepted ? 1.0 : 0.0) - rate_);
  }
}

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
  // The first of its size also pays for memory that is new: it does not count for much.
  if (cost.samples <= 2) {
    cost.seconds = cost.samples == 1 ? seconds : std::min(cost.seconds, seconds);
  } else {
    cost.seconds += 0.2 * (seconds - cost.seconds);
  }
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
  // Nothing so large is known: so many rows may be free, no more.
  constexpr int kFreeRows = 64;
  return below_seconds * std::max(1.0, static_cast<double>(wanted) / std::max(below, kFreeRows));
}

double DraftPlanner::tokens_per_second(std::span<const Proposal> proposals, int limit) const {
  double tokens = 0;
  int rows = 0;
  int passes = 0;
  int by_model = 0;
  for (const Proposal& proposal : proposals) {
    const int drafts = std::min(proposal.most, limit);
    double all_right = 1;
    for (int i = 0; i <= drafts; ++i) {
      tokens += all_right;
      all_right *= proposal.acceptance;
    }
    rows += 1 + drafts;
    if (!proposal.by_model || drafts == 0) continue;
    passes = std::max(passes, drafts);
    ++by_model;
  }
  const double seconds = steps_.of(rows) + passes * passes_.of(by_model);
  return seconds > 0 ? tokens / seconds : tokens;
}

int DraftPlanner::plan(std::span<const Proposal> proposals, int most) const {
  // Drafts that gain less than this are not worth what the estimates may be wrong by.
  constexpr double kLeastGain = 1.03;
  int best = 0;
  double best_speed = kLeastGain * tokens_per_second(proposals, 0);
  for (int limit = 1; limit <= most; ++limit) {
    const double speed = tokens_per_second(proposals, limit);
    if (speed <= best_speed) continue;
    best = limit;
    best_speed = speed;
  }
  return best;
}

}  // namespace lanner
