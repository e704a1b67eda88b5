// SPDX-License-Identifier: Apache-2.0
#include "kvcache/kv_cache.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "base/checked.h"
#include "base/error.h"

namespace lanner {
namespace {

// Far above any model, and small enough that no size of a block of one layer overflows.
constexpr int kMaxSize = 1 << 20;

void check_layout(const KvLayout& layout) {
  check_argument(layout.block_size > 0 && layout.block_size <= kMaxSize &&
                     layout.block_size % KvLayout::kPanelTokens == 0,
                 "[kvcache] block_size is {}, expected a multiple of {}", layout.block_size,
                 KvLayout::kPanelTokens);
  check_argument(layout.kv_heads > 0 && layout.kv_heads <= kMaxSize, "[kvcache] kv_heads is {}",
                 layout.kv_heads);
  check_argument(layout.head_dim > 0 && layout.head_dim <= kMaxSize && layout.head_dim % 2 == 0,
                 "[kvcache] head_dim is {}, expected a positive even number", layout.head_dim);
  check_argument(layout.v_head_dim > 0 && layout.v_head_dim <= kMaxSize,
                 "[kvcache] v_head_dim is {}", layout.v_head_dim);
  check_argument(!layout.is_int8() || layout.head_dim <= KvLayout::kMaxInt8HeadDim,
                 "[kvcache] int8 takes heads of up to {}, not of {}", KvLayout::kMaxInt8HeadDim,
                 layout.head_dim);
  check_argument(!is_block_dtype(layout.dtype), "[kvcache] cannot hold {}", layout.dtype);
}

}  // namespace

int32_t KvCachePlan::blocks_for_bytes(int64_t bytes) const {
  LANNER_CHECK(bytes_per_block > 0);
  return static_cast<int32_t>(
      std::clamp<int64_t>(bytes / bytes_per_block, 0, std::numeric_limits<int32_t>::max()));
}

KvCachePlan plan_kv_cache(std::span<const KvLayout> layers) {
  check_argument(!layers.empty(), "[kvcache] the model has no layers");
  KvCachePlan plan{.block_size = layers[0].block_size};
  for (const KvLayout& layout : layers) {
    check_layout(layout);
    check_argument(layout.block_size == plan.block_size,
                   "[kvcache] layers have blocks of {} and of {} tokens", plan.block_size,
                   layout.block_size);
    const int64_t bytes =
        checked_mul(layout.head_bytes(), int64_t{layout.kv_heads}, "[kvcache] bytes of a block");
    plan.bytes_per_block = checked_add(plan.bytes_per_block, bytes, "[kvcache] bytes of a block");
  }
  return plan;
}

KvCache::KvCache(std::vector<KvLayout> layers, int32_t num_blocks)
    : layouts_(std::move(layers)), plan_(plan_kv_cache(layouts_)), num_blocks_(num_blocks) {
  check_argument(num_blocks > 0, "[kvcache] the number of blocks is {}", num_blocks);
  checked_mul(plan_.bytes_per_block, int64_t{num_blocks}, "[kvcache] size of the KV cache");
  buffers_.reserve(layouts_.size());
  for (const KvLayout& layout : layouts_) {
    buffers_.emplace_back(static_cast<size_t>(layout.block_bytes() * num_blocks));
  }
}

KvCacheView KvCache::layer(int index) const {
  LANNER_CHECK(index >= 0 && index < num_layers());
  const auto i = static_cast<size_t>(index);
  return {.layout = layouts_[i], .data = buffers_[i].data(), .num_blocks = num_blocks_};
}

void KvCache::copy_block(int32_t from, int32_t to) {
  LANNER_CHECK(from >= 0 && from < num_blocks_ && to >= 0 && to < num_blocks_);
  if (from == to) return;
  for (size_t i = 0; i < layouts_.size(); ++i) {
    const int64_t bytes = layouts_[i].block_bytes();
    std::memcpy(buffers_[i].data() + to * bytes, buffers_[i].data() + from * bytes,
                static_cast<size_t>(bytes));
  }
}

}  // namespace lanner
