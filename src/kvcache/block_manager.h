// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "kvcache/prefix_cache.h"

namespace lanner {

// Knows who owns which block of the KV cache: a list of free block ids, a reference count per
// block, and the PrefixCache with what is worth keeping of blocks that nobody owns any more. Holds
// no memory of the cache itself. Used by the scheduler through BlockTable; not thread-safe.
class BlockManager {
 public:
  explicit BlockManager(int32_t num_blocks);

  // A block for somebody to write to, now with one reference: a free one, else the least recently
  // used of the prefix cache; nothing when all are in use.
  std::optional<int32_t> allocate();
  // One more owner of a block that is in use or in the prefix cache. Whoever writes to a block
  // needs it for itself.
  void share(int32_t block);
  // One owner less; the last one frees the block, or leaves it to the prefix cache.
  void release(int32_t block);

  int32_t num_blocks() const { return static_cast<int32_t>(references_.size()); }
  // Blocks that allocate() could give.
  int32_t num_free() const { return static_cast<int32_t>(free_.size()) + cache_.num_idle(); }
  // Owners of a block; 0 if it is free or only in the prefix cache.
  int32_t references(int32_t block) const;

  PrefixCache& prefix_cache() { return cache_; }
  const PrefixCache& prefix_cache() const { return cache_; }

 private:
  std::vector<int32_t> references_;  // [num_blocks]
  std::vector<int32_t> free_;        // taken from the back: the last one freed, still in the caches
  PrefixCache cache_;
};

}  // namespace lanner
