// SPDX-License-Identifier: Apache-2.0
// How layers are cut over the ranks of a tensor parallel job. Every rank works out every share, so
// that all agree without a word.
#pragma once

#include <cstdint>
#include <optional>

#include "base/dtype.h"

namespace lanner {

// Elements [begin, end) of something that is cut over the ranks.
struct Share {
  int64_t begin = 0;
  int64_t end = 0;

  int64_t size() const { return end - begin; }
  bool empty() const { return begin == end; }
  bool operator==(const Share&) const = default;
};

// Rank `rank`'s share of `count` elements in whole units of `unit` (the last may be shorter), as
// equal as they can be. Where there are fewer units than ranks some ranks get none, never rank 0.
Share share_of(int64_t count, int64_t unit, int rank, int size);

// Of the inner columns of an MLP or an expert: units of 32, the group of most quantised types,
// unless that leaves ranks without any.
Share share_of_mlp(int64_t intermediate, int rank, int size);

// Of the vocabulary, in units of 32: a token mask is cut between its words.
Share share_of_vocab(int64_t vocab_size, int rank, int size);

// A rank's attention heads: whole groups of query heads with their KV head where there are enough
// of those for all ranks, else a part of the query heads of one KV head, which several ranks hold
// then.
struct HeadShare {
  int head_begin = 0;
  int num_heads = 0;  // 0: more ranks than heads
  int kv_begin = 0;
  int num_kv_heads = 0;
  // Of the ranks that hold the KV head this is the one that counts it, where each counts once.
  bool counts_kv = true;
};

// num_kv_heads divides num_heads.
HeadShare share_of_heads(int num_heads, int num_kv_heads, int rank, int size);

// The most KV heads that any of the ranks holds: what a block of the KV cache must have room for.
int most_kv_heads(int num_kv_heads, int size);

// The columns that a rank reads for its share of a matrix's inputs: whole groups of quantised
// values, of the type they are stored in and of the one they are packed as, so that all ranks
// together hold the numbers that one alone would. What lies outside the share meets zeros.
Share whole_groups(const Share& inputs, int64_t in_features, DType stored,
                   std::optional<DType> packed);

}  // namespace lanner
