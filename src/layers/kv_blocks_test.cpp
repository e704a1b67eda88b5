// SPDX-License-Identifier: Apache-2.0
// What the cache holds of a token, data and scales, moves with its block: copies, forks and blocks
// in any order give the bits of attention over one sequence that was never moved.
#include <algorithm>
#include <deque>
#include <numeric>
#include <random>

#include <gtest/gtest.h>

#include "kernels/attention/attention.h"
#include "kernels/kv_store/kv_store.h"
#include "kernels/testing/matrix.h"
#include "kvcache/kv_cache.h"

namespace lanner {
namespace {

constexpr int kHeads = 4, kKvHeads = 2, kHeadDim = 24, kValueDim = 20, kBlock = 32, kBlocks = 40;

// One token's K, V and query, by its id.
struct Token {
  std::vector<float> k, v, q;
  explicit Token(uint32_t id)
      : k(random_normal(kKvHeads * kHeadDim, 3 * id)),
        v(random_normal(kKvHeads * kValueDim, 3 * id + 1)),
        q(random_normal(kHeads * kHeadDim, 3 * id + 2)) {}
};

struct Case {
  const char* name;
  DType dtype;
  bool rotated;
};

class KvBlocksTest : public testing::TestWithParam<Case> {
 protected:
  struct Moved {
    std::vector<uint32_t> tokens;  // ids
    std::vector<int32_t> blocks;
  };

  KvBlocksTest() : generator_(17), cache_(layouts(), kBlocks) {
    free_.resize(kBlocks);
    std::iota(free_.begin(), free_.end(), 0);
    std::shuffle(free_.begin(), free_.end(), generator_);
  }

  static std::vector<KvLayout> layouts() {
    return {2, KvLayout{.dtype = GetParam().dtype,
                        .block_size = kBlock,
                        .kv_heads = kKvHeads,
                        .head_dim = kHeadDim,
                        .v_head_dim = kValueDim,
                        .rotated = GetParam().rotated}};
  }

  int32_t take_block() {
    const int32_t block = free_.back();
    free_.pop_back();
    return block;
  }

  void append(Moved& sequence, uint32_t id, KvCache& cache) {
    const int offset = static_cast<int>(sequence.tokens.size() % kBlock);
    if (offset == 0) sequence.blocks.push_back(&cache == &cache_ ? take_block() : next_straight_++);
    sequence.tokens.push_back(id);
    const Token token(id);
    TestMatrix k(1, kKvHeads * kHeadDim), v(1, kKvHeads * kValueDim);
    k.set(token.k);
    v.set(token.v);
    const int64_t slot = int64_t{sequence.blocks.back()} * kBlock + offset;
    for (int layer = 0; layer < 2; ++layer) {
      kv_store(k.tensor(), v.tensor(), std::vector<int64_t>{slot}, cache.layer(layer), threads_);
    }
  }

  // A fork that writes on its own: all blocks are copied, or the last, as copy-on-write does.
  Moved fork(const Moved& from, bool all) {
    Moved copy = from;
    for (size_t i = all ? 0 : copy.blocks.size() - 1; i < copy.blocks.size(); ++i) {
      const int32_t to = take_block();
      cache_.copy_block(copy.blocks[i], to);
      copy.blocks[i] = to;
    }
    return copy;
  }

  std::vector<float> attend(const Moved& sequence, const KvCache& cache, int layer) {
    TestMatrix q(1, kHeads * kHeadDim), y(1, kHeads * kValueDim);
    q.set(Token(sequence.tokens.back()).q);
    const AttentionSequence one{.query_begin = 0,
                                .query_length = 1,
                                .past_length = static_cast<int>(sequence.tokens.size()) - 1,
                                .block_table = sequence.blocks};
    attention(q.tensor(), std::span(&one, 1), cache.layer(layer),
              {.num_heads = kHeads, .scale = 0.2f}, y.tensor(), workspace_, threads_);
    const auto row = y.row(0);
    return {row.begin(), row.end()};
  }

  // The same tokens written one after the other into a cache of their own.
  std::vector<float> attend_unmoved(const Moved& sequence, int layer) {
    KvCache cache(layouts(), kBlocks);
    next_straight_ = 0;
    Moved straight;
    for (uint32_t id : sequence.tokens) append(straight, id, cache);
    return attend(straight, cache, layer);
  }

  std::mt19937 generator_;
  ThreadPool threads_{2};
  Workspace workspace_;
  KvCache cache_;
  std::deque<int32_t> free_;
  int32_t next_straight_ = 0;
};

TEST_P(KvBlocksTest, ForksCopiesAndMovesKeepTheResult) {
  uint32_t next_id = 1;
  std::vector<Moved> sequences(1);
  for (int i = 0; i < 50; ++i) append(sequences[0], next_id++, cache_);
  for (int step = 0; step < 60; ++step) {
    const size_t index = generator_() % sequences.size();
    switch (generator_() % 4) {
      case 0:  // beam reorder: one beam becomes another's copy
        if (sequences.size() < 4 && free_.size() > 12) {
          sequences.push_back(fork(sequences[index], false));
        }
        break;
      case 1:  // swapped out and in again, to other blocks
        if (free_.size() > 12) {
          const Moved old = sequences[index];
          sequences[index] = fork(old, true);
          // Blocks that nobody else shares are free again, and overwritten by whoever takes them.
          for (int32_t block : old.blocks) {
            const bool shared = std::ranges::any_of(sequences, [&](const Moved& s) {
              return std::ranges::find(s.blocks, block) != s.blocks.end();
            });
            if (!shared) free_.push_front(block);
          }
        }
        break;
      default:
        // A block that is shared must not be written: copy it first.
        if (sequences[index].tokens.size() % kBlock != 0) {
          const int32_t last = sequences[index].blocks.back();
          const auto sharers = std::ranges::count_if(sequences, [&](const Moved& s) {
            return !s.blocks.empty() && std::ranges::find(s.blocks, last) != s.blocks.end();
          });
          if (sharers > 1) {
            if (free_.size() < 4) break;
            sequences[index] = fork(sequences[index], false);
          }
        }
        if (free_.size() > 3) append(sequences[index], next_id++, cache_);
    }
    for (int layer = 0; layer < 2; ++layer) {
      ASSERT_EQ(attend(sequences[index], cache_, layer), attend_unmoved(sequences[index], layer))
          << "step " << step << ", " << sequences[index].tokens.size() << " tokens";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, KvBlocksTest,
                         testing::Values(Case{"fp32", DType::kF32, false},
                                         Case{"fp16", DType::kF16, false},
                                         Case{"bf16", DType::kBf16, false},
                                         Case{"int8", DType::kI8, true},
                                         Case{"int8_plain", DType::kI8, false}),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace lanner
