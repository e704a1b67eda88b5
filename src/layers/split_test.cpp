// SPDX-License-Identifier: Apache-2.0
#include "layers/split.h"

#include <gtest/gtest.h>

namespace lanner {
namespace {

TEST(Split, SharesFollowOneAnotherAndCoverEverything) {
  for (int64_t count : {0, 1, 31, 32, 172, 4096, 11008, 151'936}) {
    for (int64_t unit : {1, 32, 256}) {
      for (int size : {1, 2, 3, 4, 8, 64}) {
        int64_t at = 0;
        for (int rank = 0; rank < size; ++rank) {
          const Share share = share_of(count, unit, rank, size);
          EXPECT_EQ(share.begin, at);
          EXPECT_TRUE(share.begin % unit == 0 || share.empty());
          EXPECT_LE(share.size(), ((count + unit - 1) / unit + size - 1) / size * unit);
          at = share.end;
        }
        EXPECT_EQ(at, count);
        EXPECT_TRUE(count == 0 || !share_of(count, unit, 0, size).empty()) << "rank 0 has some";
      }
    }
  }
}

TEST(Split, SmallMlpsAreCutFinerThanGroups) {
  EXPECT_EQ(share_of_mlp(11008, 1, 2), (Share{5504, 11008}));
  for (int rank = 0; rank < 8; ++rank) EXPECT_FALSE(share_of_mlp(40, rank, 8).empty());
}

// Every query head belongs to one rank, which has its KV head; each KV head is counted once.
TEST(Split, HeadsStayWithTheirKvHeads) {
  for (const auto& [heads, kv_heads] :
       {std::pair{32, 32}, {40, 40}, {32, 8}, {14, 2}, {7, 1}, {6, 3}, {5, 5}, {1, 1}}) {
    const int group = heads / kv_heads;
    for (int size : {1, 2, 3, 4, 5, 8, 64}) {
      int next = 0, counted = 0;
      for (int rank = 0; rank < size; ++rank) {
        const HeadShare share = share_of_heads(heads, kv_heads, rank, size);
        if (share.num_heads == 0) {
          EXPECT_EQ(share.num_kv_heads, 0);
          continue;
        }
        EXPECT_EQ(share.head_begin, next);
        next += share.num_heads;
        EXPECT_EQ(share.head_begin / group, share.kv_begin);
        EXPECT_EQ((next - 1) / group, share.kv_begin + share.num_kv_heads - 1);
        EXPECT_EQ(share.num_heads % share.num_kv_heads, 0);
        EXPECT_LE(share.num_kv_heads, most_kv_heads(kv_heads, size));
        if (share.counts_kv) counted += share.num_kv_heads;
      }
      EXPECT_EQ(next, heads) << heads << " heads, " << kv_heads << " KV heads, " << size;
      EXPECT_EQ(counted, kv_heads) << heads << " heads, " << kv_heads << " KV heads, " << size;
      EXPECT_GT(share_of_heads(heads, kv_heads, 0, size).num_heads, 0);
    }
  }
}

TEST(Split, GroupsOfQuantisedValuesStayWhole) {
  const Share share{40, 80};
  EXPECT_EQ(whole_groups(share, 1024, DType::kBf16, {}), share);
  EXPECT_EQ(whole_groups(share, 1024, DType::kBf16, DType::kI8), (Share{32, 96}));
  EXPECT_EQ(whole_groups(share, 1024, DType::kBf16, DType::kI4G128), (Share{0, 128}));
  EXPECT_EQ(whole_groups(share, 1024, DType::kQ8_0, {}), (Share{32, 96}));
  EXPECT_EQ(whole_groups(share, 1024, DType::kQ4K, DType::kI4), (Share{0, 256}));
  EXPECT_EQ(whole_groups(share, 90, DType::kF32, DType::kI8), (Share{32, 90}));
  EXPECT_EQ(whole_groups(share, 1024, DType::kF32, DType::kW8A8), share);
  EXPECT_TRUE(whole_groups({7, 7}, 1024, DType::kQ4K, {}).empty());
}

}  // namespace
}  // namespace lanner
