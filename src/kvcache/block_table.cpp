// SPDX-License-Identifier: Apache-2.0
#include "kvcache/block_table.h"

#include <algorithm>
#include <utility>

#include "base/checked.h"
#include "base/error.h"

namespace lanner {

BlockTable::BlockTable(BlockManager& manager, int block_size)
    : manager_(&manager), block_size_(block_size) {
  LANNER_CHECK(block_size > 0);
}

BlockTable::~BlockTable() { release(); }

BlockTable::BlockTable(BlockTable&& other) noexcept
    : manager_(other.manager_),
      block_size_(other.block_size_),
      blocks_(std::exchange(other.blocks_, {})) {}

bool BlockTable::grow(int64_t num_tokens) {
  if (num_tokens <= capacity()) return true;
  const int64_t missing = ceil_div(num_tokens - capacity(), block_size_);
  if (missing > manager_->num_free()) return false;
  // Before the first block is taken: a failing push_back would lose it.
  blocks_.reserve(blocks_.size() + static_cast<size_t>(missing));
  for (int64_t i = 0; i < missing; ++i) blocks_.push_back(*manager_->allocate());
  return true;
}

bool BlockTable::grow_for_writing(int64_t begin, int64_t num_tokens,
                                  std::optional<BlockCopy>& copy) {
  copy.reset();
  const auto first = static_cast<size_t>(begin / block_size_);
  if (first >= blocks_.size() || manager_->references(blocks_[first]) == 1) return grow(num_tokens);
  const int64_t missing = std::max<int64_t>(ceil_div(num_tokens - capacity(), block_size_), 0);
  if (missing + 1 > manager_->num_free()) return false;
  copy = BlockCopy{.from = blocks_[first], .to = *manager_->allocate()};
  manager_->release(copy->from);  // it has other owners, and they keep what it holds
  blocks_[first] = copy->to;
  return grow(num_tokens);
}

bool BlockTable::is_ready(int64_t begin, int64_t num_tokens) const {
  const auto first = static_cast<size_t>(begin / block_size_);
  return num_tokens <= capacity() && manager_->references(blocks_[first]) == 1;
}

void BlockTable::append_shared(int32_t block) {
  blocks_.reserve(blocks_.size() + 1);
  manager_->share(block);
  blocks_.push_back(block);
}

BlockTable BlockTable::fork(int64_t num_tokens) const {
  LANNER_CHECK(num_tokens <= capacity());
  BlockTable table(*manager_, block_size_);
  const auto count = static_cast<size_t>(ceil_div(num_tokens, block_size_));
  table.blocks_.reserve(count);
  for (size_t i = 0; i < count; ++i) table.append_shared(blocks_[i]);
  return table;
}

void BlockTable::release() {
  // Last block first, so that the next sequence gets them in the same order, and that the prefix
  // cache forgets the ends of sequences before their beginnings.
  while (!blocks_.empty()) {
    manager_->release(blocks_.back());
    blocks_.pop_back();
  }
}

int64_t BlockTable::slot(int64_t position) const {
  LANNER_CHECK(position >= 0 && position < capacity());
  const int64_t block = blocks_[static_cast<size_t>(position / block_size_)];
  return block * block_size_ + position % block_size_;
}

}  // namespace lanner
