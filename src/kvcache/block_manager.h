// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace lanner {

// Knows who owns which block of the KV cache: a list of free block ids and a reference count per
// block. Holds no memory of the cache itself. Used by the scheduler through BlockTable; not
// thread-safe.
class BlockManager {
 public:
  explicit BlockManager(int32_t num_blocks);

  // A free block, now with one reference; nothing when none is free.
  std::optional<int32_t> allocate();
  // One more owner of a block that is in use. Whoever writes to a block needs it for itself.
  void share(int32_t block);
  // One owner less; the last one frees the block.
  void release(int32_t block);

  int32_t num_blocks() const { return static_cast<int32_t>(references_.size()); }
  int32_t num_free() const { return static_cast<int32_t>(free_.size()); }
  // Owners of a block; 0 if it is free.
  int32_t references(int32_t block) const;

 private:
  std::vector<int32_t> references_;  // [num_blocks]
  std::vector<int32_t> free_;        // taken from the back: the last one freed, still in the caches
};

}  // namespace lanner
