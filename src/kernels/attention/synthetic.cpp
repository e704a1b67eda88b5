// SPDX-License-Identifier: Apache-2.0
#include "kernels/attention/synthetic.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/checked.h"
#include "base/isa.h"
#include "kernels/attention/kernels.h"
#include "kernels/attention/plan.h"
#include "kernels/kv_store/kv_store.h"

namespace lanner {
namespace {

// Values of size about 1 that are cheap to make and differ everywhere.
void fill(std::vector<float>& values, uint32_t seed) {
  uint32_t state = seed * 2654435761u + 1;
  for (float& value : values) {
    state = state * 1664525u + 1013904223u;
    value = static_cast<float>(state >> 8) / static_cast<float>(1 << 23) - 1.0f;
  }
}

// Flash must be faster by this to be chosen: below it the difference is noise.
constexpr double kMargin = 0.98;
constexpr int64_t kFirstTokens = 512;
constexpr int64_t kMostTokens = 32768;
// From here on one run is long enough to tell.
constexpr int64_t kLongTokens = 8192;

}  // namespace

SyntheticAttention::SyntheticAttention(const SyntheticShape& shape, ThreadPool& threads)
    : shape_(shape) {
  const KvLayout& layout = shape.layout;
  const int64_t length = int64_t{shape.past_length} + shape.query_length;
  num_blocks_ = ceil_div(length, layout.block_size);
  const auto block_bytes = static_cast<size_t>(layout.block_bytes());
  // One block by kv_store, the others are its copies.
  Buffer block(block_bytes);
  std::vector<float> k(static_cast<size_t>(layout.block_size * layout.kv_heads * layout.head_dim));
  std::vector<float> v(
      static_cast<size_t>(layout.block_size * layout.kv_heads * layout.v_head_dim));
  fill(k, 1);
  fill(v, 2);
  std::vector<int64_t> slots(static_cast<size_t>(layout.block_size));
  std::iota(slots.begin(), slots.end(), 0);
  kv_store({k.data(), DType::kF32, {layout.block_size, layout.kv_heads * layout.head_dim}},
           {v.data(), DType::kF32, {layout.block_size, layout.kv_heads * layout.v_head_dim}}, slots,
           {layout, block.data(), 1}, threads);
  for (int i = 0; i < shape.num_layers; ++i) {
    Buffer& layer = layers_.emplace_back(block_bytes * static_cast<size_t>(num_blocks_));
    threads.parallel_for(num_blocks_, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        std::memcpy(layer.data() + static_cast<size_t>(b) * block_bytes, block.data(), block_bytes);
      }
    });
  }
  block_table_.resize(static_cast<size_t>(num_blocks_));
  std::iota(block_table_.begin(), block_table_.end(), 0);
  q_.resize(static_cast<size_t>(int64_t{shape.query_length} * shape.num_heads * layout.head_dim));
  y_.resize(static_cast<size_t>(int64_t{shape.query_length} * shape.num_heads * layout.v_head_dim));
  fill(q_, 3);
}

void SyntheticAttention::run(const AttentionRule& rule, ThreadPool& threads) {
  const KvLayout& layout = shape_.layout;
  const AttentionSequence sequence{.query_begin = 0,
                                   .query_length = shape_.query_length,
                                   .past_length = shape_.past_length,
                                   .block_table = block_table_};
  const KvCacheView cache{layout, layers_[next_layer_].data(), num_blocks_};
  next_layer_ = (next_layer_ + 1) % layers_.size();
  const AttentionParams params{.num_heads = shape_.num_heads,
                               .scale = 1.0f / std::sqrt(static_cast<float>(layout.head_dim)),
                               .rule = rule};
  attention({q_.data(), DType::kF32, {shape_.query_length, shape_.num_heads * layout.head_dim}},
            std::span(&sequence, 1), cache, params,
            {y_.data(), DType::kF32, {shape_.query_length, shape_.num_heads * layout.v_head_dim}},
            workspace_, threads);
}

int64_t SyntheticAttention::scratch_bytes(const AttentionRule& rule,
                                          const ThreadPool& threads) const {
  const KvLayout& layout = shape_.layout;
  const int64_t rows = int64_t{shape_.query_length} * shape_.num_heads;
  const AttentionPlan plan =
      plan_attention({.past_length = shape_.past_length,
                      .query_length = shape_.query_length,
                      .group = shape_.num_heads / layout.kv_heads,
                      .max_rows = select_attention(layout.dtype).max_rows,
                      .max_block_rows = threads.size() == 1 ? rows : rows / (4 * threads.size()),
                      .l2_bytes = cache_sizes().l2,
                      .flash_from = rule.flash_from});
  constexpr int64_t kFloat = sizeof(float);
  const int64_t scores = plan.chunk_panels * int64_t{KvLayout::kPanelTokens} * kFloat;
  const int64_t sums = 2 * layout.v_head_dim * kFloat;
  return threads.size() * (plan.block_rows * (scores + sums) +
                           attention_query_bytes(plan.block_rows, layout.head_dim));
}

double time_attention(SyntheticAttention& attention, const AttentionRule& rule, int repeats,
                      ThreadPool& threads) {
  std::vector<double> seconds;
  for (int i = 0; i <= repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    attention.run(rule, threads);
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    if (i > 0) seconds.push_back(taken.count());
  }
  std::ranges::sort(seconds);
  return seconds[seconds.size() / 2];
}

AttentionRule measure_attention_rule(const KvLayout& layout, int num_heads, int64_t max_tokens,
                                     ThreadPool& threads) {
  if (!cpu_isa().has(Isa::kAvx2)) return {};  // scalar code would take seconds to tell
  const int group = std::max(num_heads / layout.kv_heads, 1);
  KvLayout one = layout;
  one.kv_heads = 1;
  AttentionRule rule;
  int64_t tokens = kFirstTokens;
  while (tokens * 2 <= std::min(max_tokens, kMostTokens)) tokens *= 2;
  // Downwards, and no further than to a length that Slim is better at: most of the time goes into
  // the longest, and models wait for this at loading.
  for (; tokens >= kFirstTokens && tokens <= max_tokens; tokens /= 2) {
    const bool is_long = tokens >= kLongTokens;
    // Blocks of both methods for every thread.
    const int64_t rows = int64_t{is_long ? 128 : 256} * threads.size();
    const auto queries = static_cast<int>(std::min(ceil_div(rows, int64_t{group}), tokens));
    SyntheticAttention attention({.layout = one,
                                  .num_heads = group,
                                  .past_length = static_cast<int>(tokens) - queries,
                                  .query_length = queries},
                                 threads);
    const int repeats = is_long ? 1 : 3;
    const double slim = time_attention(attention, {AttentionRule::kNever}, repeats, threads);
    const double flash = time_attention(attention, {0}, repeats, threads);
    if (flash > kMargin * slim) break;
    rule.flash_from = tokens - tokens / 4;  // between this length and the one before
  }
  return rule;
}

}  // namespace lanner
