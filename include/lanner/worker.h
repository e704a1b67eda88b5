// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace lanner {

// Another rank of a model that a process of this machine loads with LlmConfig::tensor_parallel.
// That process starts `lanner worker` with these; nobody else needs them.
struct WorkerOptions {
  int rank = 0;
  int memory = -1;               // descriptor of the memory that the ranks share
  bool has_cpu_for_each = true;  // a CPU for each thread of all ranks
};

// Loads this rank's share of the model and computes it step by step until the first rank lets go.
// Throws Error where it cannot: kIo when another rank has failed or ended, and as LLM::load. The
// other ranks are told.
void run_worker(const WorkerOptions& options);

}  // namespace lanner
