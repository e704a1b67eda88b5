// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/buffer.h"
#include "base/kv_layout.h"

namespace lanner {

// What a KV cache costs, before there is one.
struct KvCachePlan {
  int block_size = 0;           // tokens
  int64_t bytes_per_block = 0;  // of all layers

  // Rounded up: blocks are padded.
  int64_t bytes_per_token() const { return ceil_div(bytes_per_block, block_size); }
  // Blocks that fit into so many bytes, at most as many as there are block ids.
  int32_t blocks_for_bytes(int64_t bytes) const;
  // Blocks that one sequence of so many tokens takes.
  int64_t blocks_for_tokens(int64_t tokens) const { return ceil_div(tokens, block_size); }
};

// `layers` holds the layout of every layer; they may differ in heads and type, not in block_size.
// Throws Error(kInvalidArgument) for sizes that make no sense or overflow.
KvCachePlan plan_kv_cache(std::span<const KvLayout> layers);

// Owns the memory of the KV cache: per layer one buffer of num_blocks blocks. A block id means the
// same place in every layer. Which block belongs to whom is the BlockManager's. Kernels write
// through the views from several threads, each to its own slots and heads.
class KvCache {
 public:
  // Throws Error(kInvalidArgument) as plan_kv_cache, or Error(kResourceExhausted) with the size.
  KvCache(std::vector<KvLayout> layers, int32_t num_blocks);

  int num_layers() const { return static_cast<int>(layouts_.size()); }
  int block_size() const { return plan_.block_size; }
  int32_t num_blocks() const { return num_blocks_; }
  int64_t bytes() const { return plan_.bytes_per_block * num_blocks_; }
  KvCacheView layer(int index) const;

  // Copies a block in all layers, everything that its layout puts into it.
  void copy_block(int32_t from, int32_t to);

 private:
  std::vector<KvLayout> layouts_;  // [num_layers]
  KvCachePlan plan_;
  int32_t num_blocks_;
  std::vector<Buffer> buffers_;  // [num_layers]
};

}  // namespace lanner
