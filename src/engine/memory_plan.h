// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace lanner {

// What the plan is made from. Bytes and tokens; 0 means "not given" for the requested values.
struct MemoryRequest {
  int64_t available_bytes = 0;      // RAM that the process may still take
  int64_t weight_bytes = 0;         // packed
  int64_t kv_bytes_per_block = 0;   // over all layers
  int block_size = 0;               // tokens
  int model_max_context = 0;        // what the model was trained for
  int max_sequences = 0;
  int requested_context = 0;
  int64_t requested_kv_bytes = 0;
};

// How the memory is divided, decided before any weight is read.
struct MemoryPlan {
  int64_t available_bytes = 0;
  int64_t weight_bytes = 0;
  int64_t kv_bytes = 0;
  int64_t num_blocks = 0;
  int64_t kv_bytes_per_token = 0;
  int max_context = 0;  // tokens of the longest sequence
};

// Throws Error(kInvalidArgument) for a context longer than the model's, and
// Error(kResourceExhausted) with the sum when weights and the requested (or the smallest useful) KV
// cache do not fit.
MemoryPlan plan_memory(const MemoryRequest& request);

// RAM this process may still take: MemAvailable, cut down to what the cgroup leaves.
int64_t available_memory();
// Most RAM the process has held so far.
int64_t peak_memory();

}  // namespace lanner
