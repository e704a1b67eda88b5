// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>

namespace lanner {

// The share of right proposals, token by token: a mean that forgets. As long as it has seen few, a
// new one counts for more, so that a wrong prior is soon gone.
class AcceptanceRate {
 public:
  // newest: the weight of one token once many have been seen.
  explicit AcceptanceRate(double prior, double newest = 0.1) : rate_(prior), newest_(newest) {}

  void learn(bool right) {
    ++count_;
    rate_ += std::max(newest_, 1.0 / count_) * ((right ? 1.0 : 0.0) - rate_);
  }
  // Of `proposed` tokens the first `accepted` were right; what came after a wrong one tells
  // nothing.
  void learn(int proposed, int accepted) {
    for (int i = 0; i < std::min(accepted + 1, proposed); ++i) learn(i < accepted);
  }
  double rate() const { return rate_; }

  // For another sequence: begins where this one is, and is soon changed.
  AcceptanceRate begin_again() const {
    AcceptanceRate begun(rate_);
    begun.count_ = std::min(count_, 2 * kPriorCount);
    return begun;
  }

 private:
  static constexpr int kPriorCount = 4;  // tokens that the prior counts for

  double rate_;
  double newest_;
  int count_ = kPriorCount;
};

}  // namespace lanner
