// SPDX-License-Identifier: Apache-2.0
#include "kvcache/block_table.h"

#include "base/checked.h"
#include "base/error.h"

namespace lanner {

BlockTable::BlockTable(BlockManager& manager, int block_size)
    : manager_(manager), block_size_(block_size) {
  LANNER_CHECK(block_size > 0);
}

BlockTable::~BlockTable() { release(); }

bool BlockTable::grow(int64_t num_tokens) {
  if (num_tokens <= capacity()) return true;
  const int64_t missing = ceil_div(num_tokens - capacity(), block_size_);
  if (missing > manager_.num_free()) return false;
  // Before the first block is taken: a failing push_back would lose it.
  blocks_.reserve(blocks_.size() + static_cast<size_t>(missing));
  for (int64_t i = 0; i < missing; ++i) blocks_.push_back(*manager_.allocate());
  return true;
}

void BlockTable::release() {
  // Last block first, so that the next sequence gets them in the same order.
  while (!blocks_.empty()) {
    manager_.release(blocks_.back());
    blocks_.pop_back();
  }
}

int64_t BlockTable::slot(int64_t position) const {
  LANNER_CHECK(position >= 0 && position < capacity());
  const int64_t block = blocks_[static_cast<size_t>(position / block_size_)];
  return block * block_size_ + position % block_size_;
}

}  // namespace lanner
