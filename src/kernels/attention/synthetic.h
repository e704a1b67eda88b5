// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

#include "base/buffer.h"
#include "kernels/attention/attention.h"

namespace lanner {

// What a SyntheticAttention is made of.
struct SyntheticShape {
  KvLayout layout;
  int num_heads = 1;
  int past_length = 0;
  int query_length = 1;
  int num_layers = 1;  // caches that are used in turn, so that none is left in the CPU's
};

// Sequences of made-up tokens for measuring attention: their KV cache (one block's content over
// and over), queries and results.
class SyntheticAttention {
 public:
  SyntheticAttention(const SyntheticShape& shape, ThreadPool& threads);

  // One call of attention(), on the next layer.
  void run(const AttentionRule& rule, ThreadPool& threads);

  // Bytes of scratch that a call takes on all threads together: the scores of a block of rows,
  // which are nearly all of it, its queries and its sums.
  int64_t scratch_bytes(const AttentionRule& rule, const ThreadPool& threads) const;

 private:
  SyntheticShape shape_;
  int64_t num_blocks_;
  std::vector<Buffer> layers_;
  size_t next_layer_ = 0;
  std::vector<int32_t> block_table_;
  std::vector<float> q_, y_;
  Workspace workspace_;
};

// The median seconds of `repeats` calls, after one that nobody counts.
double time_attention(SyntheticAttention& attention, const AttentionRule& rule, int repeats,
                      ThreadPool& threads);

// Which of SlimAttention and flash attention is faster from how many tokens on, for a model of this
// layout and number of heads on this machine: measured on one KV head at 512, 1024, … tokens, up to
// `max_tokens` and at most 65536. Takes tenths of a second.
AttentionRule measure_attention_rule(const KvLayout& layout, int num_heads, int64_t max_tokens,
                                     ThreadPool& threads);

}  // namespace lanner
