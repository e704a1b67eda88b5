// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace lanner {

// Data caches of one core, from CPUID; 32 KiB and 1 MiB where it does not say.
struct CacheSizes {
  int64_t l1d = 0;
  int64_t l2 = 0;
};
CacheSizes cache_sizes();

// How the attention of one sequence over one KV head is cut. A row is one query of one head of the
// KV group, the group's heads of the first query first: rows of a block are neighbours in position
// and share what they read of K and V.
//
// Prefill (SlimAttention): blocks of rows, each with its whole rows of scores and one softmax over
// them. The block is as large as lets its scores stay in half the L2 cache, so that the scratch of
// a call is threads x block_rows x (tokens seen) and grows linearly with the length.
//
// Prefill by flash attention: the same blocks, their tokens in chunks of a fixed length as in
// decode, one after the other.
//
// Decode (up to kMaxDecodeQueries queries): one block of all rows; KV in chunks, each with its own
// maximum and sum, merged in the order of the chunks. Chunks depend on the length alone and the
// merge is the same whether one thread does all or each does some: a sequence's result does not
// depend on the number of threads nor on the sequences beside it.
struct AttentionPlan {
  static constexpr int kMaxDecodeQueries = 4;

  int num_panels = 0;  // of the sequence: past_length + query_length tokens
  int block_rows = 0;
  int num_blocks = 0;
  int block_panels = 0;  // at most this many panels are seen by one block
  int chunk_panels = 0;  // of one softmax
  int num_chunks = 0;    // of one block; 1 in SlimAttention
  bool is_decode = false;
  // Chunks begin at multiples of their length whatever a block begins with, so that a row is cut
  // alike in every block.
  bool is_flash = false;
};

struct AttentionPlanInput {
  int64_t past_length = 0;
  int64_t query_length = 0;
  int group = 1;           // query heads per KV head
  int sliding_window = 0;  // 0: none
  int prefix_length = 0;   // see each other whatever their order
  int max_rows = 1;        // of the kernel's tile
  // Rows of one block beyond which threads would be left without work. No matter for the result.
  int64_t max_block_rows = INT64_MAX;
  int64_t l2_bytes = 0;
  int64_t flash_from = INT64_MAX;  // tokens seen by a block
};

AttentionPlan plan_attention(const AttentionPlanInput& input);

}  // namespace lanner
