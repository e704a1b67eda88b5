// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>

#include "base/kv_layout.h"
#include "base/tensor.h"
#include "base/thread_pool.h"
#include "base/workspace.h"

namespace lanner {

// The queries of one sequence in this step. Its tokens 0 … past_length + query_length - 1 are in
// the cache (kv_store has run); query i is at position past_length + i.
struct AttentionSequence {
  int64_t query_begin = 0;  // first row of q
  int query_length = 0;     // rows of q; 1 in decode
  int past_length = 0;      // tokens in the cache before them
  // Prefix-LM: the first prefix_length tokens see each other in both directions (and not what
  // follows), those from there on are causal. 0: causal throughout. All of the prefix must be in
  // the cache when one of its tokens is a query: a prefix is not cut into chunks.
  int prefix_length = 0;
  std::span<const int32_t> block_table;  // block of token t: block_table[t / block_size]
};

// SlimAttention computes whole rows of scores, flash attention pieces of them with a running
// maximum: prefill of rows that see at least so many tokens goes by flash. All: 0. None: kNever.
struct AttentionRule {
  static constexpr int64_t kNever = INT64_MAX;
  int64_t flash_from = kNever;
};

// In this order: score = scale * (q . k); score = soft_cap * tanh(score / soft_cap);
// score += slope * (key position - query position); mask; softmax, with the sink as one more column
// that has no value. All in fp32. What differs from it is brought to it: a bias that the model
// scales with the scores (Falcon-RW) is a smaller slope, a factor per query (Qwen's log n) belongs
// into q.
struct AttentionParams {
  int num_heads = 0;
  float scale = 1.0f;
  float soft_cap = 0.0f;                // 0: none
  int sliding_window = 0;               // > 0: a query sees itself and the window - 1 tokens before
  const float* alibi_slopes = nullptr;  // [num_heads]; may be null
  const float* sinks = nullptr;         // [num_heads] logits that join the softmax; may be null
  AttentionRule rule = {};
};

// Causal (or prefix-LM) attention over a block table, grouped-query: query head h reads KV head
// h / (num_heads / kv_heads).
//
//   q  [num_tokens, num_heads * head_dim]    fp32, any row stride
//   y  [num_tokens, num_heads * v_head_dim]  fp32, any row stride; must not overlap q
//
// Prefill is SlimAttention or flash attention, decode is split over the KV (plan.h says how work is
// cut). Scores, softmax and accumulators are fp32. With an int8 cache q is rotated as K was, and
// quantised per row where the CPU multiplies bytes; all heads, and the prefill that wrote them, see
// the quantised K and V. A sequence's result has the same bits for any number of threads and
// whichever sequences are beside it. Rows of y that belong to no sequence are left alone. Throws
// Error(kInvalidArgument) when shapes do not match or a block table is too short.
void attention(const Tensor& q, std::span<const AttentionSequence> sequences,
               const KvCacheView& cache, const AttentionParams& params, const Tensor& y,
               Workspace& workspace, ThreadPool& threads);

}  // namespace lanner
