// SPDX-License-Identifier: Apache-2.0
#include "distributed/cost_model.h"

#include <algorithm>
#include <bit>
#include <map>

#include "base/error.h"

namespace lanner {
namespace {

// Exchanges of recursive doubling: log2, rounded up.
int doublings(int ranks) { return std::bit_width(static_cast<unsigned>(ranks - 1)); }

DecodePrediction without_messages(int ranks, const DecodeCost& cost) {
  return {.ranks = ranks,
          .compute_seconds = cost.split_seconds / ranks + cost.fixed_seconds,
          .sent_bytes = cost.sums * all_reduce_sent_bytes(ranks, cost.sum_bytes) +
                        cost.gather_bytes * (ranks - 1)};
}

}  // namespace

double all_reduce_seconds(int ranks, double bytes, const LinkCost& link) {
  if (ranks == 1) return 0;
  const double doubling = doublings(ranks) * (link.latency + bytes / link.bandwidth);
  const double ring = 2.0 * (ranks - 1) * (link.latency + bytes / ranks / link.bandwidth);
  return std::min(doubling, ring);
}

double all_reduce_sent_bytes(int ranks, double bytes) { return 2.0 * (ranks - 1) / ranks * bytes; }

MeasuredCost::MeasuredCost(const Json& report) : ranks_(0), step_seconds_(0) {
  std::map<double, double> fastest;
  try {
    ranks_ = report.at("ranks").get<int>();
    for (const Json& row : report.at("all_reduce")) {
      const double seconds = row.at("median_us").get<double>() * 1e-6;
      const auto [place, is_new] = fastest.emplace(row.at("sum_bytes").get<double>(), seconds);
      place->second = std::min(place->second, seconds);
    }
    for (const Json& row : report.at("step")) {
      const double seconds = row.at("median_us").get<double>() * 1e-6;
      step_seconds_ = step_seconds_ == 0 ? seconds : std::min(step_seconds_, seconds);
    }
  } catch (const Json::exception& error) {
    throw_error(ErrorCode::kCorruptFile, "what is given is no report of the ranks' messages: {}",
                error.what());
  }
  if (ranks_ < 2 || fastest.empty()) {
    throw_error(ErrorCode::kCorruptFile,
                "the report of the ranks' messages holds no sums of two or more ranks");
  }
  for (const auto& [bytes, seconds] : fastest) points_.push_back({bytes, seconds});
}

double MeasuredCost::exchanges_ratio(int ranks) const {
  return static_cast<double>(doublings(ranks)) / doublings(ranks_);
}

double MeasuredCost::all_reduce_seconds(int ranks, double bytes) const {
  if (ranks == 1) return 0;
  const auto above =
      std::ranges::find_if(points_, [&](const Point& point) { return point.bytes >= bytes; });
  double seconds = 0;
  if (above == points_.begin()) {
    seconds = points_.front().seconds;
  } else if (above == points_.end()) {
    seconds = points_.back().seconds * bytes / points_.back().bytes;
  } else {
    const Point& below = *(above - 1);
    const double share = (bytes - below.bytes) / (above->bytes - below.bytes);
    seconds = below.seconds + share * (above->seconds - below.seconds);
  }
  return seconds * exchanges_ratio(ranks);
}

double MeasuredCost::step_seconds(int ranks) const {
  return ranks == 1 ? 0 : step_seconds_ * exchanges_ratio(ranks);
}

DecodePrediction predict_decode(int ranks, const DecodeCost& cost, const LinkCost& link) {
  DecodePrediction prediction = without_messages(ranks, cost);
  prediction.reduce_seconds = cost.sums * all_reduce_seconds(ranks, cost.sum_bytes, link);
  // One way down a tree, and back.
  if (ranks > 1) prediction.step_seconds = 2.0 * doublings(ranks) * link.latency;
  return prediction;
}

DecodePrediction predict_decode(int ranks, const DecodeCost& cost, const MeasuredCost& measured) {
  DecodePrediction prediction = without_messages(ranks, cost);
  prediction.reduce_seconds = cost.sums * measured.all_reduce_seconds(ranks, cost.sum_bytes);
  prediction.step_seconds = measured.step_seconds(ranks);
  return prediction;
}

}  // namespace lanner
