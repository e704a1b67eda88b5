// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "layers/execution_context.h"

namespace lanner {

// y += what all ranks put in: the sum that a half of a block ends with (or both, where they are
// parallel). A rank may put in several parts, or none. The parts lie in memory that the other ranks
// read, and with one rank in y itself: nothing is copied on its way. The exchange of another sum
// must be over before the first part is asked for.
class RankSum {
 public:
  // y [num_tokens, size] fp32, contiguous, the same on all ranks.
  RankSum(const Tensor& y, ExecutionContext& context) : y_(y), context_(context) {}

  // Where the next part goes, and whether it is added to what is there or replaces it.
  PartialSum next_part();
  // The same for what can only add.
  Tensor to_add_to();
  // Waits for the parts of the others. Every rank calls it, whatever it put in.
  void finish();

  const Tensor& y() const { return y_; }

 private:
  Tensor y_;
  ExecutionContext& context_;
  PartialSum part_ = {};
  bool has_begun_ = false;
};

// y = 0; y [num_tokens, size] fp32, any row stride.
void set_zero(const Tensor& y);

}  // namespace lanner
