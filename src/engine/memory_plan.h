// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace lanner {

// What the plan is made from. Bytes and tokens; 0 means "not given" for the requested values.
struct MemoryRequest {
  int64_t available_bytes = 0;     // RAM that the process may still take; 0: unknown
  int64_t weight_bytes = 0;        // packed
  int64_t kv_bytes_per_block = 0;  // over all layers
  int block_size = 0;              // tokens
  int model_max_context = 0;       // what the model was trained for
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

// Unless told otherwise the KV cache gets what max_sequences sequences of the model's context need,
// but at most half of the memory that the weights leave; if that does not hold even one of them,
// the context is cut down to it. More than half only for a context that was asked for.
//
// Throws Error(kInvalidArgument) for a context longer than the model's, or longer than the
// requested KV cache holds, and Error(kResourceExhausted) with the sum when weights and KV cache do
// not fit.
MemoryPlan plan_memory(const MemoryRequest& request);

// Most RAM the process has held so far.
int64_t peak_memory();

}  // namespace lanner
