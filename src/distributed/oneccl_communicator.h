// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "base/dtype.h"
#include "distributed/communicator.h"
#include "distributed/rendezvous.h"

namespace lanner {

struct OneCclOptions {
  std::string plugin = {};   // path of liblanner_ccl.so; empty: beside the program, or installed
  int64_t sum_elements = 0;  // of the largest sum
  // What partial sums travel as: kF32, or kBf16 for half of the bytes and 8 bits of precision.
  DType wire = DType::kF32;
  // How long the others may keep a rank waiting inside a step before it gives the job up.
  std::chrono::milliseconds stall_time = std::chrono::seconds(60);
  // Every thread of every rank has a CPU of its own: waiting ranks spin.
  bool has_cpu_for_each = true;
};

// Ranks of any hosts through oneCCL (oneAPI Collective Communications Library), which is opened
// here: a program that never comes here does not need it. oneCCL's own settings (CCL_*, FI_*) are
// chosen from what the rendezvous knows, where the environment does not have them; set before
// threads are started that read the environment.
//
// The order of additions is oneCCL's; every rank gets the same bits. oneCCL waits without a limit
// and does not notice ranks that call different collectives: the waiting here is our own, ended by
// the rendezvous' watch over the ranks and by stall_time.
//
// A process that is to end by SIGPIPE ignores it from here on.
//
// Throws, on every rank, Error(kUnsupported) naming the rank that cannot open the library and why,
// Error(kIo) when the ranks do not meet.
std::unique_ptr<Communicator> make_oneccl_communicator(std::shared_ptr<Rendezvous> rendezvous,
                                                       const OneCclOptions& options);

// Why oneCCL cannot be used here and what to do about it; empty if it can.
std::string oneccl_problem(const std::string& plugin = "");

}  // namespace lanner
