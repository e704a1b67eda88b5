// SPDX-License-Identifier: Apache-2.0
#include "kvcache/block_manager.h"

#include <limits>
#include <numeric>

#include "base/error.h"

namespace lanner {

BlockManager::BlockManager(int32_t num_blocks) {
  check_argument(num_blocks >= 0, "[kvcache] the number of blocks is {}", num_blocks);
  references_.resize(static_cast<size_t>(num_blocks), 0);
  free_.resize(static_cast<size_t>(num_blocks));
  std::iota(free_.rbegin(), free_.rend(), 0);  // block 0 goes first
}

std::optional<int32_t> BlockManager::allocate() {
  if (free_.empty()) return std::nullopt;
  const int32_t block = free_.back();
  free_.pop_back();
  references_[static_cast<size_t>(block)] = 1;
  return block;
}

void BlockManager::share(int32_t block) {
  LANNER_CHECK(references(block) > 0);
  LANNER_CHECK(references(block) < std::numeric_limits<int32_t>::max());
  ++references_[static_cast<size_t>(block)];
}

void BlockManager::release(int32_t block) {
  LANNER_CHECK(references(block) > 0);
  if (--references_[static_cast<size_t>(block)] == 0) free_.push_back(block);
}

int32_t BlockManager::references(int32_t block) const {
  LANNER_CHECK(block >= 0 && block < num_blocks());
  return references_[static_cast<size_t>(block)];
}

}  // namespace lanner
