// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

#include "lanner/distributed.h"

namespace lanner {

// A further rank of a model that another process loads with LlmConfig::tensor_parallel or hosts:
// `lanner worker`.
struct WorkerOptions {
  RendezvousConfig rendezvous;  // where that process waits for its ranks
  std::string path = {};        // the model here; empty: the path that the other process has loaded
  // Called once, from a thread of its own, when the other ranks are lost, with what happened.
  // run_worker throws it too, but not before the computation under way is over.
  std::function<void(const std::string& reason)> on_lost = {};
};

// Meets the other ranks, loads this rank's share of the model and computes it step by step until
// the first rank lets go. Throws Error where it cannot: kIo when another rank has failed or ended
// or has another model, and as LLM::load. The other ranks are told.
void run_worker(const WorkerOptions& options);

}  // namespace lanner
