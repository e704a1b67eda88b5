// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "base/thread_pool.h"
#include "kvcache/kv_cache.h"
#include "scheduler/scheduler_output.h"

namespace lanner {

// Stands in for the forward pass of prompts where only the length of what is cached matters: the K
// and V of the tokens are random numbers, written by the op that writes real ones. A benchmark of
// decoding at depth 4096 need not prefill 4096 tokens per sequence then.
class SyntheticPrefill {
 public:
  // A step with the chunk of a prompt; decoding sequences have one token, and so have prompts of
  // one token, which are computed.
  static bool applies_to(const SchedulerOutput& output);

  // Fills the slots of all tokens of the step, in all layers.
  void run(const SchedulerOutput& output, KvCache& cache, ThreadPool& threads);

 private:
  std::vector<float> draws_;  // grows to the largest step
};

}  // namespace lanner
