// SPDX-License-Identifier: Apache-2.0
#include "kvcache/block_manager.h"

#include <map>
#include <random>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "lanner/error.h"

namespace lanner {
namespace {

TEST(BlockManager, HandsOutEveryBlockOnceAndThenNothing) {
  BlockManager manager(5);
  std::set<int32_t> blocks;
  for (int i = 0; i < 5; ++i) blocks.insert(manager.allocate().value());
  EXPECT_EQ(blocks, (std::set<int32_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(manager.num_free(), 0);
  EXPECT_EQ(manager.allocate(), std::nullopt);
}

TEST(BlockManager, FreesASharedBlockWithItsLastOwner) {
  BlockManager manager(1);
  const int32_t block = manager.allocate().value();
  manager.share(block);
  EXPECT_EQ(manager.references(block), 2);
  manager.release(block);
  EXPECT_EQ(manager.num_free(), 0);
  manager.release(block);
  EXPECT_EQ(manager.num_free(), 1);
  EXPECT_EQ(manager.references(block), 0);
}

TEST(BlockManager, RefusesToFreeOrShareABlockNobodyOwns) {
  BlockManager manager(2);
  const int32_t block = manager.allocate().value();
  manager.release(block);
  EXPECT_THROW(manager.release(block), Error);
  EXPECT_THROW(manager.share(block), Error);
  EXPECT_THROW(manager.release(-1), Error);
  EXPECT_THROW(manager.release(2), Error);
  EXPECT_EQ(manager.num_free(), 2);
}

TEST(BlockManager, RefusesANegativeNumberOfBlocks) {
  EXPECT_THROW(BlockManager manager(-1), Error);
}

// A random history against the plainest model of it: block -> number of owners.
TEST(BlockManager, LeaksAndDoublesNoBlockOverRandomHistories) {
  for (uint32_t seed = 0; seed < 300; ++seed) {
    std::mt19937 random(seed);
    const auto num_blocks = static_cast<int32_t>(random() % 12);
    BlockManager manager(num_blocks);
    std::map<int32_t, int32_t> owners;
    const auto any = [&] {
      auto it = owners.begin();
      std::advance(it, random() % owners.size());
      return it->first;
    };
    for (int step = 0; step < 200; ++step) {
      switch (random() % 3) {
        case 0: {
          const auto block = manager.allocate();
          ASSERT_EQ(block.has_value(), static_cast<int32_t>(owners.size()) < num_blocks);
          if (block) {
            ASSERT_TRUE(owners.emplace(*block, 1).second) << "given to two owners";
          }
          break;
        }
        case 1:
          if (!owners.empty()) {
            const int32_t block = any();
            manager.share(block);
            ++owners[block];
          }
          break;
        default:
          if (!owners.empty()) {
            const int32_t block = any();
            manager.release(block);
            if (--owners[block] == 0) owners.erase(block);
          }
      }
      ASSERT_EQ(manager.num_free(), num_blocks - static_cast<int32_t>(owners.size()));
      for (int32_t block = 0; block < num_blocks; ++block) {
        const auto it = owners.find(block);
        ASSERT_EQ(manager.references(block), it == owners.end() ? 0 : it->second);
      }
    }
  }
}

}  // namespace
}  // namespace lanner
