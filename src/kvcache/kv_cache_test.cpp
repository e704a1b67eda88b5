// SPDX-License-Identifier: Apache-2.0
#include "kvcache/kv_cache.h"

#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "lanner/error.h"

namespace lanner {
namespace {

constexpr KvLayout kLayout{
    .dtype = DType::kF16, .block_size = 32, .kv_heads = 3, .head_dim = 64, .v_head_dim = 64};

TEST(KvCachePlan, AddsUpTheLayers) {
  const std::vector<KvLayout> layers(30, kLayout);
  const KvCachePlan plan = plan_kv_cache(layers);
  // 30 layers of 3 heads of (64 + 64) fp16 values.
  EXPECT_EQ(plan.bytes_per_token(), 30 * 3 * 128 * 2);
  EXPECT_EQ(plan.bytes_per_block, 32 * plan.bytes_per_token());
  EXPECT_EQ(plan.blocks_for_bytes(10 * plan.bytes_per_block), 10);
  EXPECT_EQ(plan.blocks_for_bytes(10 * plan.bytes_per_block - 1), 9);
  EXPECT_EQ(plan.blocks_for_bytes(0), 0);
  EXPECT_EQ(plan.blocks_for_bytes(-1), 0);
  EXPECT_EQ(plan.blocks_for_tokens(1), 1);
  EXPECT_EQ(plan.blocks_for_tokens(32), 1);
  EXPECT_EQ(plan.blocks_for_tokens(33), 2);
}

// Data and scales: what an int8 cache saves of fp16's memory.
TEST(KvCachePlan, Int8HalvesTheMemory) {
  for (const auto& [head_dim, share] : {std::pair{64, 0.57}, {128, 0.53}}) {
    KvLayout layout = kLayout;
    layout.head_dim = layout.v_head_dim = head_dim;
    const auto fp16 = static_cast<double>(plan_kv_cache(std::vector(30, layout)).bytes_per_block);
    layout.dtype = DType::kI8;
    layout.rotated = true;
    const auto int8 = static_cast<double>(plan_kv_cache(std::vector(30, layout)).bytes_per_block);
    EXPECT_LE(int8, share * fp16) << head_dim;
    EXPECT_GE(int8, 0.5 * fp16);
  }
}

TEST(KvCachePlan, NeverHasMoreBlocksThanIds) {
  const KvCachePlan plan{.block_size = 16, .bytes_per_block = 64};
  EXPECT_EQ(plan.blocks_for_bytes(std::numeric_limits<int64_t>::max()),
            std::numeric_limits<int32_t>::max());
}

TEST(KvCachePlan, RefusesSizesThatMakeNoSense) {
  struct Case {
    const char* name;
    void (*spoil)(KvLayout&);
  };
  const Case cases[] = {
      {"block_size", [](KvLayout& l) { l.block_size = 0; }},
      {"block_size", [](KvLayout& l) { l.block_size = 24; }},
      {"block_size", [](KvLayout& l) { l.block_size = 1 << 30; }},
      {"kv_heads", [](KvLayout& l) { l.kv_heads = 0; }},
      {"kv_heads", [](KvLayout& l) { l.kv_heads = std::numeric_limits<int>::max(); }},
      {"head_dim", [](KvLayout& l) { l.head_dim = 63; }},
      {"head_dim", [](KvLayout& l) { l.head_dim = -2; }},
      {"v_head_dim", [](KvLayout& l) { l.v_head_dim = 0; }},
      {"q4_0", [](KvLayout& l) { l.dtype = DType::kQ4_0; }},
      {"1024",
       [](KvLayout& l) {
         l.dtype = DType::kI8;
         l.head_dim = 1026;
       }},
      {"overflows",
       [](KvLayout& l) {
         l.block_size = l.kv_heads = l.head_dim = l.v_head_dim = 1 << 20;
         l.dtype = DType::kF32;
       }},
  };
  for (const Case& c : cases) {
    std::vector<KvLayout> layers(2, kLayout);
    c.spoil(layers[0]);
    layers[1].block_size = layers[0].block_size;
    try {
      plan_kv_cache(layers);
      ADD_FAILURE() << c.name << " was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      EXPECT_NE(std::string(error.what()).find(c.name), std::string::npos) << error.what();
    }
  }
  EXPECT_THROW(plan_kv_cache({}), Error);
  std::vector<KvLayout> uneven(2, kLayout);
  uneven[1].block_size = 16;
  EXPECT_THROW(plan_kv_cache(uneven), Error);
}

TEST(KvCache, GivesEachLayerItsOwnZeroedMemory) {
  std::vector<KvLayout> layers(2, kLayout);
  layers[1].dtype = DType::kF32;
  const KvCache cache(layers, 4);
  EXPECT_EQ(cache.num_layers(), 2);
  EXPECT_EQ(cache.num_blocks(), 4);
  EXPECT_EQ(cache.bytes(), 4 * (layers[0].block_bytes() + layers[1].block_bytes()));
  for (int i = 0; i < 2; ++i) {
    const KvCacheView view = cache.layer(i);
    EXPECT_EQ(view.num_blocks, 4);
    EXPECT_EQ(view.layout.dtype, layers[static_cast<size_t>(i)].dtype);
    const auto bytes = static_cast<size_t>(view.layout.block_bytes() * 4);
    EXPECT_EQ(std::vector<std::byte>(view.data, view.data + bytes), std::vector<std::byte>(bytes));
  }
  EXPECT_NE(cache.layer(0).data, cache.layer(1).data);
  EXPECT_THROW(cache.layer(2), Error);
  EXPECT_THROW(cache.layer(-1), Error);
}

TEST(KvCache, CopiesABlockInEveryLayerAndNothingElse) {
  std::vector<KvLayout> layers(3, kLayout);
  layers[1].v_head_dim = 32;
  layers[2].dtype = DType::kBf16;
  KvCache cache(layers, 4);
  const auto block_is = [&](int layer, int block, int value) {
    const KvCacheView view = cache.layer(layer);
    const auto bytes = static_cast<size_t>(view.layout.block_bytes());
    const std::byte* begin = view.data + static_cast<size_t>(block) * bytes;
    return std::vector<std::byte>(begin, begin + bytes) ==
           std::vector<std::byte>(bytes, static_cast<std::byte>(value));
  };
  for (int layer = 0; layer < 3; ++layer) {
    const KvCacheView view = cache.layer(layer);
    const auto bytes = static_cast<size_t>(view.layout.block_bytes());
    for (size_t block = 0; block < 4; ++block) {
      std::memset(view.data + block * bytes,
                  static_cast<int>(10 * (layer + 1)) + static_cast<int>(block), bytes);
    }
  }
  cache.copy_block(1, 3);
  cache.copy_block(2, 2);
  for (int layer = 0; layer < 3; ++layer) {
    const int base = 10 * (layer + 1);
    EXPECT_TRUE(block_is(layer, 0, base));
    EXPECT_TRUE(block_is(layer, 1, base + 1));
    EXPECT_TRUE(block_is(layer, 2, base + 2));
    EXPECT_TRUE(block_is(layer, 3, base + 1));
  }
  EXPECT_THROW(cache.copy_block(0, 4), Error);
  EXPECT_THROW(cache.copy_block(-1, 0), Error);
}

TEST(KvCache, RefusesWhatCannotBeHeld) {
  EXPECT_THROW(KvCache({kLayout}, 0), Error);
  EXPECT_THROW(KvCache({kLayout}, -1), Error);
  EXPECT_THROW(KvCache({}, 1), Error);
  KvLayout huge = kLayout;
  huge.kv_heads = huge.head_dim = 1 << 20;
  try {
    KvCache cache({huge}, std::numeric_limits<int32_t>::max());
    ADD_FAILURE() << "was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument) << error.what();
  }
}

}  // namespace
}  // namespace lanner
