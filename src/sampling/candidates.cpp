// SPDX-License-Identifier: Apache-2.0
#include "sampling/candidates.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>

#include "base/error.h"

namespace lanner {
namespace {

constexpr size_t kBlock = 64;  // logits with one maximum; a multiple of kLanes
constexpr size_t kLanes = 16;  // independent results, so that the compiler uses vectors
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr size_t kFirstOrdered = 64;
constexpr size_t kMostOrdered = 4096;  // worked out one after the other; beyond, sorting costs most
constexpr int32_t kAllIds = std::numeric_limits<int32_t>::max();

// Nothing below has a weight that a sum of floats would notice.
constexpr float kLowestExponent = -80.0f;

// The value, or 0. A mask instead of ?:, which the compiler makes a branch.
inline float value_if(bool condition, float value) {
  const uint32_t mask = 0u - static_cast<uint32_t>(condition);
  return std::bit_cast<float>(std::bit_cast<uint32_t>(value) & mask);
}

// e^x for x <= 0 to about 2e-7, and 0 below kLowestExponent. Without a branch or a library call:
// a loop over it becomes vector code, and the result is the same on every machine.
inline float exp_of_negative(float x) {
  constexpr float kRoundToInteger = 0x1.8p23f;
  const bool counts = x > kLowestExponent;
  const float bounded = value_if(counts, x);
  const float shifted = bounded * 0x1.715476p0f + kRoundToInteger;  // log2(e)
  const float n = shifted - kRoundToInteger;
  const float r = (bounded - n * 0x1.62e4p-1f) - n * 0x1.7f7d1cp-20f;  // ln(2) in two parts
  // Taylor series of e^r for |r| <= ln(2) / 2.
  float p = 1.0f / 720.0f;
  p = p * r + 1.0f / 120.0f;
  p = p * r + 1.0f / 24.0f;
  p = p * r + 1.0f / 6.0f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  // p * 2^n by adding n to the exponent; its low bits are those of `shifted`.
  const uint32_t scaled = std::bit_cast<uint32_t>(p) + (std::bit_cast<uint32_t>(shifted) << 23);
  return value_if(counts, std::bit_cast<float>(scaled));
}

// The largest logit; NaN if there is a NaN or +infinity among them.
float checked_max(std::span<const float> logits) {
  std::array<float, kLanes> max;
  std::array<uint32_t, kLanes> bad{};
  max.fill(-kInfinity);
  size_t i = 0;
  for (; i + kLanes <= logits.size(); i += kLanes) {
    const float* x = logits.data() + i;
    for (size_t lane = 0; lane < kLanes; ++lane) {
      max[lane] = x[lane] > max[lane] ? x[lane] : max[lane];
      bad[lane] |= x[lane] < kInfinity ? 0u : 1u;
    }
  }
  for (; i < logits.size(); ++i) {
    max[0] = logits[i] > max[0] ? logits[i] : max[0];
    bad[0] |= logits[i] < kInfinity ? 0u : 1u;
  }
  if (*std::ranges::max_element(bad) != 0) return std::numeric_limits<float>::quiet_NaN();
  return *std::ranges::max_element(max);
}

// Weights that differ little share a bin, larger ones in lower bins: 64 bins for a factor of two.
size_t weight_bin(float weight) {
  constexpr int kShift = 23 - 6;
  return (std::bit_cast<uint32_t>(1.0f) - std::bit_cast<uint32_t>(weight)) >> kShift;
}

bool goes_before(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

}  // namespace

bool Candidates::reset(std::span<const float> logits) {
  logits_ = logits;
  size_ = logits.size();
  threshold_ = -kInfinity;
  last_equal_ = kAllIds;
  ordered_.clear();
  set_temperature(1.0);
  block_max_.resize((logits.size() + kBlock - 1) / kBlock);
  best_logit_ = -kInfinity;
  for (size_t i = 0; i < num_blocks(); ++i) {
    block_max_[i] = checked_max(block(i));
    if (std::isnan(block_max_[i])) return false;
    best_logit_ = std::max(best_logit_, block_max_[i]);
  }
  return best_logit_ != -kInfinity;
}

std::span<const float> Candidates::block(size_t index) const {
  const size_t begin = index * kBlock;
  return logits_.subspan(begin, std::min(kBlock, logits_.size() - begin));
}

int32_t Candidates::best() const {
  const auto it = std::ranges::find(block_max_, best_logit_);
  const auto index = static_cast<size_t>(it - block_max_.begin());
  const std::span<const float> logits = block(index);
  const auto offset = std::ranges::find(logits, best_logit_) - logits.begin();
  return static_cast<int32_t>(index * kBlock + static_cast<size_t>(offset));
}

const Candidate& Candidates::nth(size_t i) {
  LANNER_CHECK(i < size_);
  if (i >= ordered_.size()) order_first(i + 1);
  return ordered_[i];
}

// Works out the order of at least the first `count` candidates.
void Candidates::order_first(size_t count) {
  // Twice as many each time, so that looking at one after the other stays cheap.
  count = std::min(size_, std::max({count, 2 * ordered_.size(), kFirstOrdered}));
  // Each of the `count` largest maxima stands for a logit, so none of the first `count` is smaller
  // than the smallest of them; and few others are larger.
  float bound = threshold_;
  if (count < num_blocks()) {
    scratch_ = block_max_;
    const auto last = scratch_.begin() + static_cast<std::ptrdiff_t>(count - 1);
    std::ranges::nth_element(scratch_, last, std::greater{});
    bound = std::max(bound, *last);
  }
  ordered_.clear();
  for (size_t i = 0; i < num_blocks(); ++i) {
    if (block_max_[i] < bound) continue;
    const std::span<const float> logits = block(i);
    for (size_t j = 0; j < logits.size(); ++j) {
      if (logits[j] < bound) continue;
      ordered_.push_back({.logit = logits[j], .id = static_cast<int32_t>(i * kBlock + j)});
    }
  }
  if (count < ordered_.size()) {
    std::ranges::nth_element(ordered_, ordered_.begin() + static_cast<std::ptrdiff_t>(count),
                             goes_before);
    ordered_.resize(count);
  }
  std::ranges::sort(ordered_, goes_before);
}

void Candidates::set_temperature(double temperature) {
  // So that 0 times its inverse is still 0; the best then takes all.
  temperature_ = std::max(temperature, 1e-30);
  inverse_temperature_ = static_cast<float>(1.0 / temperature_);
}

float Candidates::weight(float logit) const {
  return exp_of_negative((logit - best_logit_) * inverse_temperature_);
}

float Candidates::block_weights(size_t index, float* weights) const {
  const std::span<const float> logits = block(index);
  // Copies, so that the compiler need not think that a store changes them.
  const float best = best_logit_;
  const float inverse = inverse_temperature_;
  const float threshold = threshold_;
  const int32_t last_equal = last_equal_;
  const auto first_id = static_cast<int32_t>(index * kBlock);
  for (size_t i = 0; i < logits.size(); ++i) {
    const float value = exp_of_negative((logits[i] - best) * inverse);
    const bool above = logits[i] > threshold;
    const bool equal = logits[i] == threshold;
    const bool in_time = first_id + static_cast<int32_t>(i) <= last_equal;
    weights[i] = value_if(above | (equal & in_time), value);
  }
  std::array<float, kLanes> sums{};
  size_t i = 0;
  for (; i + kLanes <= logits.size(); i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) sums[lane] += weights[i + lane];
  }
  for (; i < logits.size(); ++i) sums[0] += weights[i];
  float sum = 0;
  for (const float lane : sums) sum += lane;
  return sum;
}

double Candidates::total_weight() {
  double total = 0;
  if (is_ordered()) {
    for (size_t i = 0; i < size_; ++i) total += weight(ordered_[i].logit);
  } else {
    std::array<float, kBlock> weights;
    for (size_t i = 0; i < num_blocks(); ++i) total += block_weights(i, weights.data());
  }
  return total;
}

void Candidates::keep_first(size_t count) {
  LANNER_CHECK(count >= 1);
  if (count >= size_) return;
  nth(count - 1);
  size_ = count;
}

void Candidates::keep_weight(double wanted) {
  double sum = 0;
  for (size_t i = 0; i < size_ && (is_ordered() || i < kMostOrdered); ++i) {
    sum += weight(nth(i).logit);
    if (sum >= wanted) {
      size_ = i + 1;
      return;
    }
  }
  if (is_ordered()) return;
  const Candidate last = find_weight(wanted);
  set_threshold(last.logit, last.id);
}

Candidate Candidates::find_weight(double wanted) {
  bins_.assign(weight_bin(std::numeric_limits<float>::min()) + 1, 0.0);
  std::array<float, kBlock> weights;
  for (size_t i = 0; i < num_blocks(); ++i) {
    block_weights(i, weights.data());
    for (size_t j = 0; j < block(i).size(); ++j) {
      if (weights[j] > 0) bins_[weight_bin(weights[j])] += weights[j];
    }
  }
  size_t bin = 0;  // the one that reaches `wanted`, or the last if rounding lets none
  double sum = 0;  // of the bins before it
  for (size_t i = 0; i < bins_.size(); ++i) {
    if (bins_[i] == 0) continue;
    if (bin != i) sum += bins_[bin];
    bin = i;
    if (sum + bins_[i] >= wanted) break;
  }
  // Only within this bin does the order matter.
  ordered_.clear();
  for (size_t i = 0; i < num_blocks(); ++i) {
    block_weights(i, weights.data());
    for (size_t j = 0; j < block(i).size(); ++j) {
      if (weights[j] == 0 || weight_bin(weights[j]) != bin) continue;
      ordered_.push_back({.logit = block(i)[j], .id = static_cast<int32_t>(i * kBlock + j)});
    }
  }
  std::ranges::sort(ordered_, goes_before);
  Candidate last;
  for (const Candidate& candidate : ordered_) {
    last = candidate;
    sum += weight(candidate.logit);
    if (sum >= wanted) break;
  }
  ordered_.clear();
  return last;
}

void Candidates::keep_from(float threshold) {
  LANNER_CHECK(threshold <= best_logit_);
  if (is_ordered()) {
    const auto end = ordered_.begin() + static_cast<std::ptrdiff_t>(size_);
    size_ = static_cast<size_t>(
        std::partition_point(ordered_.begin(), end,
                             [&](const Candidate& c) { return c.logit >= threshold; }) -
        ordered_.begin());
  } else if (threshold > threshold_) {
    set_threshold(threshold, kAllIds);
  }
}

void Candidates::set_threshold(float threshold, int32_t last_equal) {
  threshold_ = threshold;
  last_equal_ = last_equal;
  size_ = 0;
  for (size_t i = 0; i < num_blocks(); ++i) {
    if (block_max_[i] < threshold) continue;
    const std::span<const float> logits = block(i);
    for (size_t j = 0; j < logits.size(); ++j) {
      size_ += holds(logits[j], static_cast<int32_t>(i * kBlock + j)) ? 1 : 0;
    }
  }
}

void Candidates::keep_typical(double share) {
  struct Typical {
    double distance;
    Candidate candidate;
  };
  std::vector<Typical> all;
  const double total = total_weight();
  double expected = 0;
  const auto add = [&](const Candidate& candidate) {
    const double p = weight(candidate.logit) / total;
    if (p <= 0) return;  // nothing that could be drawn
    expected -= p * std::log(p);
    all.push_back({.distance = -std::log(p), .candidate = candidate});
  };
  if (is_ordered()) {
    for (size_t i = 0; i < size_; ++i) add(ordered_[i]);
  } else {
    for (size_t i = 0; i < logits_.size(); ++i) {
      const auto id = static_cast<int32_t>(i);
      if (holds(logits_[i], id)) add({.logit = logits_[i], .id = id});
    }
  }
  for (Typical& t : all) t.distance = std::abs(t.distance - expected);
  std::ranges::sort(all, [](const Typical& a, const Typical& b) {
    return a.distance != b.distance ? a.distance < b.distance
                                    : goes_before(a.candidate, b.candidate);
  });
  ordered_.clear();
  double sum = 0;
  for (const Typical& t : all) {
    ordered_.push_back(t.candidate);
    sum += weight(t.candidate.logit);
    if (sum >= share * total) break;
  }
  std::ranges::sort(ordered_, goes_before);
  size_ = ordered_.size();
}

void Candidates::probabilities(std::vector<float>& out) {
  out.assign(logits_.size(), 0.0f);
  double total = 0;
  if (is_ordered()) {
    for (size_t i = 0; i < size_; ++i) {
      float& value = out[static_cast<size_t>(ordered_[i].id)];
      value = weight(ordered_[i].logit);
      total += value;
    }
  } else {
    for (size_t i = 0; i < num_blocks(); ++i) total += block_weights(i, &out[i * kBlock]);
  }
  const auto factor = static_cast<float>(1 / total);
  for (float& value : out) value *= factor;
}

int32_t Candidates::draw(double uniform) {
  if (is_ordered()) {
    const double target = uniform * total_weight();
    double sum = 0;
    for (size_t i = 0; i < size_; ++i) {
      sum += weight(ordered_[i].logit);
      if (sum > target) return ordered_[i].id;
    }
    return ordered_[0].id;
  }
  // The block first, then the token in it.
  std::array<float, kBlock> weights;
  std::vector<float>& block_sums = scratch_;
  block_sums.resize(num_blocks());
  double total = 0;
  for (size_t i = 0; i < num_blocks(); ++i) {
    block_sums[i] = block_weights(i, weights.data());
    total += block_sums[i];
  }
  const double target = uniform * total;
  size_t chosen = 0;
  double before_chosen = 0;
  double sum = 0;
  for (size_t i = 0; i < num_blocks(); ++i) {
    if (block_sums[i] == 0) continue;
    chosen = i;
    before_chosen = sum;
    sum += block_sums[i];
    if (sum > target) break;
  }
  block_weights(chosen, weights.data());
  int32_t token = best();
  sum = before_chosen;
  for (size_t i = 0; i < block(chosen).size(); ++i) {
    if (weights[i] == 0) continue;
    token = static_cast<int32_t>(chosen * kBlock + i);
    sum += weights[i];
    if (sum > target) break;  // else rounding of the sums: the last one that has a share
  }
  return token;
}

}  // namespace lanner
