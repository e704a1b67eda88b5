// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "distributed/rendezvous.h"

namespace lanner {

struct CommunicationPlan {
  std::vector<std::string> backends;  // of kCommunicatorBackends; none: those that can be used
  std::vector<int64_t> bytes;         // of fp32 sums
  std::string wire;                   // "fp32" or "bf16", of sums over oneCCL
  int repeat = 0;
};

// What the ranks' messages cost by each backend: sums (from the moment that this rank's part is
// written until all parts are added to the result; the writing itself is a GEMM's work, and has a
// figure of its own) and a step's messages (2 KiB from rank 0 to all, 320 bytes from all to all).
// The sums are checked. `mine` are the CPUs that this rank may use; it computes with one thread per
// CPU that it takes. All ranks call it together; rank 0's plan counts, and rank 0 gets the result,
// the others null. Throws Error(kUnsupported) for a backend that was asked for and cannot be used;
// one that was not is in "skipped" with the reason.
Json measure_communication(std::shared_ptr<Rendezvous> rendezvous, const CommunicationPlan& plan,
                           const std::vector<int>& mine);

}  // namespace lanner
