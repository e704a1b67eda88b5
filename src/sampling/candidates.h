// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace lanner {

struct Candidate {
  float logit = 0;
  int32_t id = 0;
};

// The tokens of one row of logits that may still be drawn: always the first size() in the order of
// falling logits, lower ids first among equals. The order is worked out only as far as somebody
// looks at it: a vocabulary of 150,000 is never sorted to keep the best 50. Reused from row to row
// for its memory; not thread-safe.
class Candidates {
 public:
  // Starts with all tokens of a row, temperature 1. The logits must outlive the use of this object.
  // False if nothing can be drawn: a NaN, +infinity, or nothing but -infinity.
  bool reset(std::span<const float> logits);

  size_t size() const { return size_; }
  // The i-th in order, i < size().
  const Candidate& nth(size_t i);
  float best_logit() const { return best_logit_; }
  // nth(0).id, without working out any order.
  int32_t best() const;

  void set_temperature(double temperature);
  double temperature() const { return temperature_; }
  // exp((logit - best logit) / temperature), so the best one's is 1; the probability but for the
  // sum.
  float weight(float logit) const;
  // Sum over all candidates.
  double total_weight();

  // Keeps the first `count` (>= 1) in order.
  void keep_first(size_t count);
  // Keeps the fewest first ones, at least one, that weigh `wanted` together.
  void keep_weight(double wanted);
  // Keeps logits of at least `threshold` (<= best_logit()).
  void keep_from(float threshold);

  // Keeps the fewest with a surprise (-log p) nearest to the expected one, at least one, that weigh
  // `share` of the total; equally near ones in order.
  void keep_typical(double share);

  // The probability of every token of the row, 0 for those that are no candidates.
  void probabilities(std::vector<float>& out);

  // The token whose share of the total weight covers `uniform` in [0, 1).
  int32_t draw(double uniform);

 private:
  size_t num_blocks() const { return block_max_.size(); }
  std::span<const float> block(size_t index) const;
  bool is_ordered() const { return ordered_.size() >= size_; }
  void order_first(size_t count);
  // The candidate with which the weight of the first ones reaches `wanted`, in one pass over the
  // row.
  Candidate find_weight(double wanted);
  // Whether the token is a candidate as far as threshold_ and last_equal_ say.
  bool holds(float logit, int32_t id) const {
    return logit > threshold_ || (logit == threshold_ && id <= last_equal_);
  }
  void set_threshold(float threshold, int32_t last_equal);
  // Puts the weights of a block's candidates into `weights`; returns their sum.
  float block_weights(size_t index, float* weights) const;

  std::span<const float> logits_;
  std::vector<float> block_max_;  // the largest logit of every block of the row
  float best_logit_ = 0;
  double temperature_ = 1;
  float inverse_temperature_ = 1;
  // The candidates: the first size_ in order. Either all of them are in ordered_, or they are those
  // with a logit above threshold_, or equal to it and an id up to last_equal_.
  size_t size_ = 0;
  float threshold_ = 0;
  int32_t last_equal_ = 0;
  std::vector<Candidate> ordered_;  // the beginning of the order, as far as it is known
  std::vector<float> scratch_;
  std::vector<double> bins_;
};

}  // namespace lanner
