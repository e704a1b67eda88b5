// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/tensor.h"
#include "base/thread_pool.h"

namespace lanner {

// Where a rank puts its part of a sum over the ranks.
struct PartialSum {
  Tensor values;    // fp32, the shape of the sum
  bool accumulate;  // add to what is there instead of replacing it
};

// What a rank moved since it started. The zero copy of a sum is bytes_copied staying 0: the GEMM
// writes into the memory that the others read or that the network sends.
struct CommunicatorStats {
  uint64_t sums = 0;
  uint64_t sum_bytes = 0;         // of partial sums handed to other ranks
  uint64_t sum_bytes_copied = 0;  // of partial sums copied on their way, beside the adding itself
  uint64_t gathered_bytes = 0;    // handed to other ranks by all_gather
  uint64_t broadcast_bytes = 0;   // sent or received by broadcast
};

// The ranks that compute one model together (tensor parallel). Layers call it without asking how
// many ranks there are: with one rank every collective is the identity. Created by the engine, one
// per rank. Calls come from the thread that runs the forward pass, on all ranks in the same order;
// a collective that finds the others in another one throws.
//
// Every method throws Error(kIo) with a sentence that names the rank when another rank has died,
// has failed (with its reason) or does not come within the stall time. The communicator is of no
// use after that.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual const char* backend() const = 0;

  // y += the sum over the ranks, in two halves so that nothing is copied: begin_sum hands out the
  // memory for this rank's part, finish_sum adds all parts to y, on every rank in the order of the
  // ranks' numbers, so that y has the same bits everywhere. No other call may come between them.
  //   y  fp32, contiguous, the same shape and values on every rank
  virtual PartialSum begin_sum(const Tensor& y) = 0;
  virtual void finish_sum(const Tensor& y, ThreadPool& threads) = 0;

  // all = the ranks' `mine` one after another; as many bytes on every rank.
  virtual void all_gather(std::span<const std::byte> mine, std::span<std::byte> all) = 0;

  // Rank 0's message to all; what the others pass is ignored. Waits as long as rank 0 lives: that
  // is how idle ranks wait for work.
  virtual std::vector<std::byte> broadcast(std::vector<std::byte> message) = 0;

  // Waits, without a limit but the ranks' lives, until every rank has come here.
  virtual void barrier() = 0;

  // Tells the other ranks why this one ends; they throw it from their next call.
  virtual void fail(const std::string& reason) noexcept = 0;

  virtual CommunicatorStats stats() const = 0;
};

// One rank, alone.
std::unique_ptr<Communicator> make_single_communicator();

}  // namespace lanner
