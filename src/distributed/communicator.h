// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "base/tensor.h"

namespace lanner {

// The ranks that compute one model together (tensor parallel). Layers call it without asking how
// many ranks there are: with one rank every collective is the identity. Created by the engine, one
// per rank; calls come from the thread that runs the forward pass.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  // In place: every rank's x becomes the sum over the ranks, added in the order of their numbers.
  //   x  fp32, contiguous, the same shape on every rank
  virtual void all_reduce(const Tensor& x) = 0;
};

// One rank, alone.
std::unique_ptr<Communicator> make_single_communicator();

}  // namespace lanner
