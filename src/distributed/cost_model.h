// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/json.h"

namespace lanner {

// What a message from one rank to another takes: latency + bytes / bandwidth.
struct LinkCost {
  double latency = 0;    // seconds
  double bandwidth = 0;  // bytes per second
};

// Seconds of a sum of `bytes` over so many ranks: the better of recursive doubling (log2(ranks)
// exchanges of all bytes) and of reduce-scatter + all-gather around a ring (2 (ranks - 1) exchanges
// of a share).
double all_reduce_seconds(int ranks, double bytes, const LinkCost& link);

// Bytes that a rank sends for a sum of `bytes`: each half of a reduce-scatter + all-gather sends
// all shares but one.
double all_reduce_sent_bytes(int ranks, double bytes);

// A report of measure_communication as costs: of its number of ranks as measured (the fastest
// backend for each size, straight lines between the sizes), of others by the number of exchanges.
class MeasuredCost {
 public:
  // Throws Error(kCorruptFile) for what is no such report.
  explicit MeasuredCost(const Json& report);
  double all_reduce_seconds(int ranks, double bytes) const;
  // Of a step's broadcast and gather.
  double step_seconds(int ranks) const;

 private:
  struct Point {
    double bytes, seconds;
  };
  double exchanges_ratio(int ranks) const;

  int ranks_;
  std::vector<Point> points_;  // by size
  double step_seconds_;
};

// A model's decode step on one rank, and what its ranks say to each other.
struct DecodeCost {
  double split_seconds = 0;  // of what is divided among the ranks, on one
  double fixed_seconds = 0;  // of what every rank does
  int sums = 0;              // per step
  double sum_bytes = 0;
  double gather_bytes = 0;  // of a rank's candidates
};

struct DecodePrediction {
  int ranks = 1;
  double compute_seconds = 0;
  double reduce_seconds = 0;
  double step_seconds = 0;  // broadcast of the step, gather of the candidates
  double sent_bytes = 0;    // by one rank per step
  double total_seconds() const { return compute_seconds + reduce_seconds + step_seconds; }
};

DecodePrediction predict_decode(int ranks, const DecodeCost& cost, const LinkCost& link);
DecodePrediction predict_decode(int ranks, const DecodeCost& cost, const MeasuredCost& measured);

}  // namespace lanner
