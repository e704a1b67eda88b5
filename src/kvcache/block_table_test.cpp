// SPDX-License-Identifier: Apache-2.0
#include "kvcache/block_table.h"

#include <memory>
#include <random>
#include <set>
#include <vector>

#include <gmock/gmock.h>

#include "lanner/error.h"

namespace lanner {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(BlockTable, GrowsOnDemandByWholeBlocks) {
  BlockManager manager(8);
  BlockTable table(manager, 4);
  EXPECT_EQ(table.capacity(), 0);
  EXPECT_TRUE(table.grow(1));
  EXPECT_EQ(table.capacity(), 4);
  EXPECT_TRUE(table.grow(4));
  EXPECT_EQ(table.blocks().size(), 1u);
  EXPECT_TRUE(table.grow(9));
  EXPECT_THAT(table.blocks(), ElementsAre(0, 1, 2));
  EXPECT_TRUE(table.grow(2)) << "never shrinks";
  EXPECT_EQ(table.capacity(), 12);
  EXPECT_EQ(manager.num_free(), 5);
}

TEST(BlockTable, TakesNothingWhenThereIsTooLittle) {
  BlockManager manager(2);
  BlockTable table(manager, 4);
  ASSERT_TRUE(table.grow(3));
  EXPECT_FALSE(table.grow(9));
  EXPECT_EQ(manager.num_free(), 1);
  EXPECT_EQ(table.capacity(), 4);
  EXPECT_TRUE(table.grow(8));
}

TEST(BlockTable, SlotsFollowTheBlocks) {
  BlockManager manager(6);
  BlockTable other(manager, 4);
  BlockTable table(manager, 4);
  ASSERT_TRUE(table.grow(4));  // block 0
  ASSERT_TRUE(other.grow(8));  // blocks 1 and 2
  ASSERT_TRUE(table.grow(8));  // block 3
  EXPECT_EQ(table.slot(0), 0);
  EXPECT_EQ(table.slot(3), 3);
  EXPECT_EQ(table.slot(4), 12);
  EXPECT_EQ(table.slot(7), 15);
  EXPECT_THROW(table.slot(8), Error);
  EXPECT_THROW(table.slot(-1), Error);
}

TEST(BlockTable, GivesItsBlocksBack) {
  BlockManager manager(3);
  {
    BlockTable table(manager, 2);
    ASSERT_TRUE(table.grow(6));
    table.release();
    EXPECT_EQ(manager.num_free(), 3);
    EXPECT_THAT(table.blocks(), IsEmpty());
    ASSERT_TRUE(table.grow(3));
    EXPECT_THAT(table.blocks(), ElementsAre(0, 1));
  }
  EXPECT_EQ(manager.num_free(), 3);
}

TEST(BlockTable, TablesNeverOverlapOverRandomHistories) {
  for (uint32_t seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    const auto num_blocks = static_cast<int32_t>(1 + random() % 16);
    const int block_size = 1 + static_cast<int>(random() % 4);
    BlockManager manager(num_blocks);
    std::vector<std::unique_ptr<BlockTable>> tables;
    for (int step = 0; step < 200; ++step) {
      const unsigned action = random() % 8;
      if (action == 0 || tables.empty()) {
        tables.push_back(std::make_unique<BlockTable>(manager, block_size));
      } else {
        const size_t which = random() % tables.size();
        BlockTable& table = *tables[which];
        if (action == 1) {
          tables.erase(tables.begin() + static_cast<std::ptrdiff_t>(which));
        } else if (action == 2) {
          table.release();
        } else {
          const int64_t wanted = table.capacity() + random() % 6;
          const int64_t blocks = (wanted + block_size - 1) / block_size;
          const bool fits =
              blocks - static_cast<int64_t>(table.blocks().size()) <= manager.num_free();
          ASSERT_EQ(table.grow(wanted), fits);
        }
      }
      std::set<int64_t> slots;
      size_t owned = 0;
      for (const auto& table : tables) {
        owned += table->blocks().size();
        for (int64_t position = 0; position < table->capacity(); ++position) {
          const int64_t slot = table->slot(position);
          ASSERT_TRUE(slot >= 0 && slot < int64_t{num_blocks} * block_size);
          ASSERT_TRUE(slots.insert(slot).second) << "two tokens in one slot";
        }
      }
      ASSERT_EQ(manager.num_free(), num_blocks - static_cast<int32_t>(owned));
    }
  }
}

}  // namespace
}  // namespace lanner
