// SPDX-License-Identifier: Apache-2.0
#include "engine/pooler.h"

#include "base/error.h"

namespace lanner {

HiddenStates hidden_states_for(Pooling pooling) {
  switch (pooling) {
    case Pooling::kMean:
      return HiddenStates::kAll;
    case Pooling::kLast:
      return HiddenStates::kLast;
    case Pooling::kFirst:
      return HiddenStates::kFirst;
  }
  return HiddenStates::kNone;
}

void Pooler::add(const Tensor& hidden) {
  if (hidden.num_rows() == 0) return;
  LANNER_CHECK(pooling_ == Pooling::kMean || (count_ == 0 && hidden.num_rows() == 1));
  sum_.resize(static_cast<size_t>(hidden.size(-1)));
  for (int64_t row = 0; row < hidden.num_rows(); ++row) {
    const float* values = hidden.row<float>(row);
    for (size_t i = 0; i < sum_.size(); ++i) sum_[i] += values[i];
  }
  count_ += hidden.num_rows();
}

void Pooler::restart() {
  sum_.clear();
  count_ = 0;
}

std::vector<float> Pooler::result() const {
  std::vector<float> mean(sum_.size());
  for (size_t i = 0; i < sum_.size(); ++i) {
    mean[i] = static_cast<float>(sum_[i] / static_cast<double>(count_));
  }
  return mean;
}

}  // namespace lanner
