// SPDX-License-Identifier: Apache-2.0
#include "layers/rank_sum.h"

#include <algorithm>

namespace lanner {

PartialSum RankSum::next_part() {
  if (has_begun_) return {.values = part_.values, .accumulate = true};
  part_ = context_.communicator.begin_sum(y_);
  has_begun_ = true;
  return part_;
}

Tensor RankSum::to_add_to() {
  const PartialSum part = next_part();
  if (!part.accumulate) set_zero(part.values);
  return part.values;
}

void RankSum::finish() {
  if (!has_begun_) to_add_to();
  context_.communicator.finish_sum(y_, context_.threads);
}

void set_zero(const Tensor& y) {
  for (int64_t row = 0; row < y.num_rows(); ++row) std::fill_n(y.row<float>(row), y.size(-1), 0.0f);
}

}  // namespace lanner
