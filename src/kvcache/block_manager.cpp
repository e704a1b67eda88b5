// SPDX-License-Identifier: Apache-2.0
#include "kvcache/block_manager.h"

#include <limits>
#include <numeric>

#include "base/error.h"

namespace lanner {
namespace {

int32_t checked_count(int32_t num_blocks) {
  check_argument(num_blocks >= 0, "[kvcache] the number of blocks is {}", num_blocks);
  return num_blocks;
}

}  // namespace

BlockManager::BlockManager(int32_t num_blocks) : cache_(checked_count(num_blocks)) {
  references_.resize(static_cast<size_t>(num_blocks), 0);
  free_.resize(static_cast<size_t>(num_blocks));
  std::iota(free_.rbegin(), free_.rend(), 0);  // block 0 goes first
}

std::optional<int32_t> BlockManager::allocate() {
  int32_t block = 0;
  if (!free_.empty()) {
    block = free_.back();
    free_.pop_back();
  } else if (cache_.num_idle() > 0) {
    block = cache_.evict();
  } else {
    return std::nullopt;
  }
  references_[static_cast<size_t>(block)] = 1;
  return block;
}

void BlockManager::share(int32_t block) {
  const int32_t owners = references(block);
  LANNER_CHECK(owners > 0 || cache_.holds(block));
  LANNER_CHECK(owners < std::numeric_limits<int32_t>::max());
  if (owners == 0) cache_.set_used(block);
  ++references_[static_cast<size_t>(block)];
}

void BlockManager::release(int32_t block) {
  LANNER_CHECK(references(block) > 0);
  if (--references_[static_cast<size_t>(block)] > 0) return;
  if (cache_.holds(block)) {
    cache_.set_idle(block);
  } else {
    free_.push_back(block);
  }
}

int32_t BlockManager::references(int32_t block) const {
  LANNER_CHECK(block >= 0 && block < num_blocks());
  return references_[static_cast<size_t>(block)];
}

}  // namespace lanner
