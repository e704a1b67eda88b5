// SPDX-License-Identifier: Apache-2.0
#include "kvcache/prefix_cache.h"

#include <vector>

#include <gtest/gtest.h>

#include "kvcache/block_manager.h"
#include "kvcache/block_table.h"

namespace lanner {
namespace {

const PrefixId kRoot = prefix_root("model", "", 7);

TEST(PrefixCache, FindsABlockByWhatIsBeforeItAndInIt) {
  PrefixCache cache(4);
  const std::vector<int32_t> first = {1, 2};
  const std::vector<int32_t> second = {3, 4};
  const PrefixId after_first = cache.insert(kRoot, first, 2);
  const PrefixId after_second = cache.insert(after_first, second, 0);
  ASSERT_TRUE(cache.find(kRoot, first).has_value());
  EXPECT_EQ(cache.find(kRoot, first)->block, 2);
  EXPECT_EQ(cache.find(kRoot, first)->prefix, after_first);
  EXPECT_EQ(cache.find(after_first, second)->block, 0);
  EXPECT_EQ(cache.find(after_first, second)->prefix, after_second);
  EXPECT_FALSE(cache.find(kRoot, second)) << "another beginning";
  EXPECT_FALSE(cache.find(after_second, second));
  EXPECT_FALSE(cache.find(kRoot, std::vector<int32_t>{1, 3}));
}

TEST(PrefixCache, KeepsTheFirstOfTwoBlocksThatHoldTheSame) {
  PrefixCache cache(4);
  const std::vector<int32_t> tokens = {1, 2};
  const PrefixId id = cache.insert(kRoot, tokens, 1);
  EXPECT_EQ(cache.insert(kRoot, tokens, 3), id);
  EXPECT_EQ(cache.find(kRoot, tokens)->block, 1);
  EXPECT_TRUE(cache.holds(1));
  EXPECT_FALSE(cache.holds(3));
}

TEST(PrefixCache, RootsDifferByIdentitySaltAndSeed) {
  EXPECT_EQ(prefix_root("model", "salt", 7), prefix_root("model", "salt", 7));
  EXPECT_NE(prefix_root("model", "salt", 7), prefix_root("model", "", 7));
  EXPECT_NE(prefix_root("model", "salt", 7), prefix_root("models", "alt", 7));
  EXPECT_NE(prefix_root("model", "salt", 7), prefix_root("model", "salt", 8));
}

TEST(PrefixCache, GivesAwayTheLeastRecentlyUsedFirst) {
  PrefixCache cache(3);
  for (int32_t block = 0; block < 3; ++block) {
    cache.insert(kRoot, std::vector<int32_t>{block}, block);
    cache.set_idle(block);
  }
  cache.set_used(0);
  EXPECT_EQ(cache.num_idle(), 2);
  cache.set_idle(0);
  EXPECT_EQ(cache.evict(), 1);
  EXPECT_EQ(cache.evict(), 2);
  EXPECT_FALSE(cache.find(kRoot, std::vector<int32_t>{1}));
  EXPECT_EQ(cache.evict(), 0);
  EXPECT_EQ(cache.num_idle(), 0);
  EXPECT_EQ(cache.num_known(), 0);
  EXPECT_EQ(cache.num_evictions(), 3u);
}

TEST(PrefixCache, AForgottenBeginningComesBackUnderANewName) {
  PrefixCache cache(2);
  const std::vector<int32_t> tokens = {1};
  const std::vector<int32_t> next = {2};
  const PrefixId old = cache.insert(kRoot, tokens, 0);
  cache.insert(old, next, 1);
  cache.set_idle(0);
  cache.evict();
  const PrefixId fresh = cache.insert(kRoot, tokens, 0);
  EXPECT_NE(fresh, old);
  EXPECT_FALSE(cache.find(fresh, next));
}

TEST(BlockManager, LeavesKnownBlocksToTheCacheUntilTheyAreNeeded) {
  BlockManager manager(2);
  const int32_t known = manager.allocate().value();
  manager.prefix_cache().insert(kRoot, std::vector<int32_t>{1}, known);
  manager.release(known);
  EXPECT_EQ(manager.num_free(), 2);
  EXPECT_EQ(manager.references(known), 0);
  manager.share(known);
  EXPECT_EQ(manager.num_free(), 1);
  EXPECT_EQ(manager.references(known), 1);
  manager.release(known);
  EXPECT_NE(manager.allocate().value(), known) << "a free block goes first";
  EXPECT_EQ(manager.allocate().value(), known);
  EXPECT_FALSE(manager.prefix_cache().find(kRoot, std::vector<int32_t>{1}));
  EXPECT_EQ(manager.allocate(), std::nullopt);
}

TEST(BlockManager, ForgetsTheEndsOfSequencesBeforeTheirBeginnings) {
  BlockManager manager(3);
  {
    BlockTable table(manager, 1);
    ASSERT_TRUE(table.grow(3));
    PrefixId prefix = kRoot;
    for (const int32_t block : table.blocks()) {
      prefix = manager.prefix_cache().insert(prefix, std::vector<int32_t>{5}, block);
    }
  }
  const auto beginning = manager.prefix_cache().find(kRoot, std::vector<int32_t>{5});
  ASSERT_TRUE(beginning);
  manager.allocate();
  manager.allocate();
  EXPECT_TRUE(manager.prefix_cache().find(kRoot, std::vector<int32_t>{5}));
  EXPECT_EQ(manager.allocate().value(), beginning->block);
}

TEST(BlockTable, AForkSharesBlocksAndCopiesTheOneThatIsWritten) {
  BlockManager manager(6);
  BlockTable table(manager, 4);
  ASSERT_TRUE(table.grow(6));
  BlockTable fork = table.fork(6);
  EXPECT_EQ(manager.num_free(), 4);
  std::optional<BlockCopy> copy;
  EXPECT_FALSE(fork.is_ready(6, 7));
  ASSERT_TRUE(fork.grow_for_writing(6, 7, copy));
  ASSERT_TRUE(copy);
  EXPECT_EQ(copy->from, table.blocks()[1]);
  EXPECT_EQ(copy->to, fork.blocks()[1]);
  EXPECT_EQ(fork.blocks()[0], table.blocks()[0]);
  EXPECT_EQ(manager.num_free(), 3);
  EXPECT_TRUE(table.is_ready(6, 7));
  ASSERT_TRUE(table.grow_for_writing(6, 7, copy));
  EXPECT_FALSE(copy) << "the last owner writes where it is";
  fork.release();
  EXPECT_EQ(manager.num_free(), 4);
}

TEST(BlockTable, WritingNeedsABlockForTheCopyToo) {
  BlockManager manager(3);
  BlockTable table(manager, 4);
  ASSERT_TRUE(table.grow(6));
  BlockTable fork = table.fork(6);
  std::optional<BlockCopy> copy;
  EXPECT_FALSE(fork.grow_for_writing(6, 9, copy)) << "one for the copy, one more";
  EXPECT_EQ(manager.num_free(), 1);
  EXPECT_TRUE(fork.grow_for_writing(6, 8, copy));
  EXPECT_EQ(manager.num_free(), 0);
}

}  // namespace
}  // namespace lanner
