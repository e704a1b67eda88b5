// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm/panel_shares.h"

#include <array>
#include <atomic>
#include <thread>
#include <vector>

#include <gmock/gmock.h>

namespace lanner {
namespace {

int64_t size(GemmRange r) { return r.end - r.begin; }

TEST(PanelShares, EveryPanelIsTakenOnceByAnyNumberOfThreads) {
  for (const int num_threads : {1, 2, 3, 8}) {
    constexpr int64_t kPanels = 1001;
    Workspace workspace;
    PanelShares shares(num_threads, workspace);
    for (int i = 0; i < num_threads; ++i) {
      shares.give(i, {kPanels * i / num_threads, kPanels * (i + 1) / num_threads});
    }
    std::vector<std::atomic<int>> taken(kPanels);
    std::vector<std::thread> threads;
    for (int i = 0; i < num_threads; ++i) {
      threads.emplace_back([&, i] {
        for (;;) {
          const GemmRange block = shares.take(i, 0, num_threads, 24, 8);
          if (size(block) == 0) return;
          for (int64_t p = block.begin; p < block.end; ++p) ++taken[static_cast<size_t>(p)];
        }
      });
    }
    for (std::thread& t : threads) t.join();
    for (const std::atomic<int>& count : taken) ASSERT_EQ(count, 1) << num_threads << " threads";
  }
}

TEST(PanelShares, ABlockIsFromTheFrontOfAThreadsOwnShareAndSmallerTowardsItsEnd) {
  Workspace workspace;
  PanelShares shares(2, workspace);
  shares.give(0, {0, 64});
  shares.give(1, {64, 128});
  std::vector<int64_t> sizes;
  int64_t reached = 0;
  for (GemmRange b = shares.take(0, 0, 2, 24, 8); b.begin < 64 && size(b) > 0;
       b = shares.take(0, 0, 2, 24, 8)) {
    EXPECT_EQ(b.begin, reached);
    reached = b.end;
    sizes.push_back(size(b));
  }
  EXPECT_EQ(reached, 64);
  EXPECT_THAT(sizes, testing::ElementsAre(24, 24, 8, 8));
}

TEST(PanelShares, WhatAHeldUpThreadLeavesIsTakenFromTheBackOfItsShare) {
  Workspace workspace;
  PanelShares shares(2, workspace);
  shares.give(0, {0, 0});
  shares.give(1, {0, 20});
  const auto next = [&] { return shares.take(0, 0, 2, 24, 8); };
  for (const GemmRange expected : std::array<GemmRange, 4>{{{12, 20}, {4, 12}, {0, 4}, {0, 0}}}) {
    const GemmRange block = next();
    EXPECT_EQ(block.begin, expected.begin);
    EXPECT_EQ(block.end, expected.end);
  }
}

TEST(PanelShares, GroupsDoNotTakeFromEachOther) {
  Workspace workspace;
  PanelShares shares(4, workspace);
  for (const int i : {0, 1, 2, 3}) shares.give(i, {i < 2 ? 0 : 100, i < 2 ? 0 : 140});
  EXPECT_EQ(size(shares.take(1, 0, 2, 24, 8)), 0);
  EXPECT_EQ(size(shares.take(2, 2, 4, 24, 8)), 24);
}

}  // namespace
}  // namespace lanner
