// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kvcache/block_manager.h"

namespace lanner {

// The blocks of one sequence in the order of its tokens: token t lies in block t / block_size. Owns
// a reference to each and gives it back at the latest when destroyed, so the manager must outlive
// it. Not thread-safe.
class BlockTable {
 public:
  BlockTable(BlockManager& manager, int block_size);
  ~BlockTable();
  BlockTable(const BlockTable&) = delete;
  BlockTable& operator=(const BlockTable&) = delete;

  // Makes room for the first num_tokens tokens of the sequence. All or nothing: false, and nothing
  // changed, when there are too few free blocks.
  [[nodiscard]] bool grow(int64_t num_tokens);
  // Gives all blocks back.
  void release();

  // Tokens the blocks have room for.
  int64_t capacity() const { return static_cast<int64_t>(blocks_.size()) * block_size_; }
  std::span<const int32_t> blocks() const { return blocks_; }
  // Where the cache keeps the token at a position below capacity():
  // block * block_size + offset in the block.
  int64_t slot(int64_t position) const;

 private:
  BlockManager& manager_;
  const int block_size_;
  std::vector<int32_t> blocks_;
};

}  // namespace lanner
