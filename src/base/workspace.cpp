// SPDX-License-Identifier: Apache-2.0
#include "base/workspace.h"

#include <algorithm>

namespace lanner {
namespace {

constexpr size_t kMinChunkBytes = size_t{4} << 20;

}  // namespace

std::byte* Workspace::allocate(size_t bytes) {
  const size_t needed = checked_add(bytes, Buffer::kAlignment - 1, "workspace size") /
                        Buffer::kAlignment * Buffer::kAlignment;
  while (chunk_ < chunks_.size() && chunks_[chunk_].size() - used_ < needed) {
    ++chunk_;
    used_ = 0;
  }
  if (chunk_ == chunks_.size()) {
    // Doubling keeps the number of chunks small; a chunk never moves, so tensors stay valid.
    chunks_.emplace_back(std::max({needed, kMinChunkBytes, capacity()}));
    used_ = 0;
  }
  std::byte* memory = chunks_[chunk_].data() + used_;
  used_ += needed;
  return memory;
}

Tensor Workspace::tensor(DType dtype, Shape shape) {
  const int64_t row = shape.rank() == 0 ? 1 : shape.size(-1);
  const int64_t rows = row == 0 ? 0 : shape.numel() / row;
  const int64_t bytes = checked_mul(rows, dtype_bytes(dtype, row), "workspace size");
  return Tensor(allocate(static_cast<size_t>(bytes)), dtype, shape);
}

size_t Workspace::capacity() const {
  size_t total = 0;
  for (const Buffer& chunk : chunks_) total += chunk.size();
  return total;
}

}  // namespace lanner
