// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "kvcache/block_manager.h"

namespace lanner {

// A block of the cache that must be copied before anybody writes to either.
struct BlockCopy {
  int32_t from = 0;
  int32_t to = 0;
  bool operator==(const BlockCopy&) const = default;
};

// The blocks of one sequence in the order of its tokens: token t lies in block t / block_size. Owns
// a reference to each and gives it back at the latest when destroyed, so the manager must outlive
// it. Not thread-safe.
class BlockTable {
 public:
  BlockTable(BlockManager& manager, int block_size);
  ~BlockTable();
  BlockTable(const BlockTable&) = delete;
  BlockTable& operator=(const BlockTable&) = delete;
  BlockTable(BlockTable&& other) noexcept;
  void swap(BlockTable& other) noexcept { blocks_.swap(other.blocks_); }

  // Makes room for the first num_tokens tokens of the sequence. All or nothing: false, and nothing
  // changed, when there are too few free blocks.
  [[nodiscard]] bool grow(int64_t num_tokens);
  // The same for tokens [begin, num_tokens) that will be written: the block where they begin must
  // belong to nobody else. Returns false, or true with the copy that this takes.
  [[nodiscard]] bool grow_for_writing(int64_t begin, int64_t num_tokens,
                                      std::optional<BlockCopy>& copy);
  // Whether tokens [begin, num_tokens) can be written as it is.
  bool is_ready(int64_t begin, int64_t num_tokens) const;
  // Owns `block`, which is in use or in the prefix cache, as the next one too.
  void append_shared(int32_t block);
  // A table that shares the blocks of the first num_tokens tokens.
  BlockTable fork(int64_t num_tokens) const;
  // Gives all blocks back.
  void release();

  // Tokens the blocks have room for.
  int64_t capacity() const { return static_cast<int64_t>(blocks_.size()) * block_size_; }
  std::span<const int32_t> blocks() const { return blocks_; }
  // Where the cache keeps the token at a position below capacity():
  // block * block_size + offset in the block.
  int64_t slot(int64_t position) const;

 private:
  BlockManager* manager_;
  int block_size_;
  std::vector<int32_t> blocks_;
};

}  // namespace lanner
