// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention/plan.h"

#include <algorithm>

#include <unistd.h>

#include "base/checked.h"
#include "base/kv_layout.h"

namespace lanner {
namespace {

constexpr int64_t kPanelTokens = KvLayout::kPanelTokens;
// Tiles of a block: enough that K and V, read once per block, cost little beside the arithmetic.
constexpr int64_t kMaxTiles = 8;
// A chunk of 256 tokens: long beside its merge, short enough to share a short sequence between
// threads and to be fetched while the one before it is in use.
constexpr int64_t kDecodePanels = 16;
// Of flash attention: K and V of 512 tokens stay in L2 beside the scores while a block uses them.
constexpr int64_t kFlashPanels = 32;

// Panels that `queries` successive queries can see, wherever they begin.
int64_t seen_panels(const AttentionPlanInput& input, int64_t num_panels, int64_t queries) {
  if (input.sliding_window == 0) return num_panels;
  int64_t tokens = input.sliding_window + queries - 1;
  if (input.past_length < input.prefix_length) tokens += input.prefix_length;
  return std::min(num_panels, ceil_div(tokens, kPanelTokens) + 1);
}

}  // namespace

CacheSizes cache_sizes() {
  static const CacheSizes sizes = [] {
    const int64_t l1d = sysconf(_SC_LEVEL1_DCACHE_SIZE);
    const int64_t l2 = sysconf(_SC_LEVEL2_CACHE_SIZE);
    return CacheSizes{l1d > 0 ? l1d : int64_t{32} << 10, l2 > 0 ? l2 : int64_t{1} << 20};
  }();
  return sizes;
}

AttentionPlan plan_attention(const AttentionPlanInput& input) {
  AttentionPlan plan;
  const int64_t rows = input.query_length * input.group;
  const int64_t num_panels = ceil_div(input.past_length + input.query_length, kPanelTokens);
  int64_t block_rows = std::max<int64_t>(rows, 1);
  int64_t block_panels = seen_panels(input, num_panels, input.query_length);
  int64_t chunk_panels = kDecodePanels;
  if (input.query_length > AttentionPlan::kMaxDecodeQueries) {
    const int64_t tile = input.max_rows;
    const auto panels_of = [&](int64_t block) {
      return seen_panels(input, num_panels, ceil_div(block, input.group) + 1);
    };
    const int64_t most_panels = panels_of(kMaxTiles * tile);
    plan.is_flash = most_panels * kPanelTokens >= input.flash_from;
    const int64_t row_panels = plan.is_flash ? kFlashPanels : most_panels;
    const int64_t row_bytes = row_panels * kPanelTokens * static_cast<int64_t>(sizeof(float));
    const int64_t fitting = input.l2_bytes / 2 / row_bytes;
    const int64_t wanted = std::min({fitting, input.max_block_rows, kMaxTiles * tile});
    block_rows = std::max(wanted / tile, int64_t{1}) * tile;
    block_panels = panels_of(block_rows);
    chunk_panels = plan.is_flash ? kFlashPanels : block_panels;
  } else {
    chunk_panels = std::min(chunk_panels, block_panels);
  }
  plan.is_decode = input.query_length <= AttentionPlan::kMaxDecodeQueries;
  plan.num_panels = static_cast<int>(num_panels);
  plan.block_rows = static_cast<int>(block_rows);
  plan.num_blocks = static_cast<int>(ceil_div(rows, block_rows));
  plan.block_panels = static_cast<int>(block_panels);
  plan.chunk_panels = static_cast<int>(chunk_panels);
  plan.num_chunks = chunk_panels == 0 ? 0 : static_cast<int>(ceil_div(block_panels, chunk_panels));
  return plan;
}

}  // namespace lanner
