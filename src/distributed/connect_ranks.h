// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "distributed/communicator.h"
#include "distributed/rendezvous.h"

namespace lanner {

// The backends that ConnectOptions::backend may name, besides "auto".
inline constexpr const char* kCommunicatorBackends[] = {"shm", "oneccl"};

struct ConnectOptions {
  // "auto": between hosts oneCCL; on one host shared memory, or for each size of a sum the faster
  // of the two as measured here, where oneCCL can be used and every thread has a CPU of its own.
  std::string backend = "auto";
  int64_t sum_elements = 0;         // of the largest sum
  int64_t message_bytes = 1 << 16;  // of a gathered or broadcast piece (shm)
  DType wire = DType::kF32;         // of sums over oneCCL: kF32 or kBf16
  std::string oneccl_plugin = {};   // as in OneCclOptions
  // How long the others may keep a rank waiting inside a step before it gives the job up.
  std::chrono::milliseconds stall_time = std::chrono::seconds(60);
  bool has_cpu_for_each = true;  // every thread of every rank has a CPU of its own
};

// The communicator of ranks that have met. All ranks call it together, with the same options.
// Throws, on every rank, Error(kUnsupported) for a backend that these ranks cannot use, kIo when
// they lose each other.
std::unique_ptr<Communicator> connect_ranks(std::shared_ptr<Rendezvous> rendezvous,
                                            const ConnectOptions& options, ThreadPool& threads);

// From which sums up (elements) the second of two communicators of the same ranks is faster, as
// rank 0 measures with all of them; beyond any sum where it never is.
int64_t measure_crossover(Communicator& first, Communicator& second, int64_t max_elements,
                          ThreadPool& threads);

// Sums of `crossover` elements and more go to `second`, all else to `first`; all to `first` where
// there is no second. What they have sent before does not count in its stats.
std::unique_ptr<Communicator> make_faster_communicator(std::unique_ptr<Communicator> first,
                                                       std::unique_ptr<Communicator> second,
                                                       int64_t crossover);

}  // namespace lanner
