// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "base/tensor.h"
#include "lanner/embedding.h"
#include "scheduler/sequence.h"

namespace lanner {

// The tokens whose hidden states a pooling needs.
HiddenStates hidden_states_for(Pooling pooling);

// Makes one vector of the hidden states that the steps of a sequence bring. One per sequence.
class Pooler {
 public:
  explicit Pooler(Pooling pooling) : pooling_(pooling) {}

  // hidden  [rows, hidden_size] fp32: the next ones that hidden_states_for() names, maybe none.
  void add(const Tensor& hidden);
  // Forgets them: they will come again.
  void restart();
  // [hidden_size]; empty without any hidden states.
  std::vector<float> result() const;

 private:
  Pooling pooling_;
  int64_t count_ = 0;
  std::vector<double> sum_;  // [hidden_size]
};

}  // namespace lanner
