// SPDX-License-Identifier: Apache-2.0
#include "base/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <sys/resource.h>

#include "base/error.h"
#include "base/topology.h"

namespace lanner {
namespace {

// Every test runs with each number of threads, most of them more than the CPUs of a small machine.
class ThreadPoolTest : public ::testing::TestWithParam<int> {
 protected:
  ThreadPool pool_{GetParam()};
};

INSTANTIATE_TEST_SUITE_P(Threads, ThreadPoolTest, ::testing::Range(1, 9));

TEST_P(ThreadPoolTest, RunsTheTaskOnceOnEveryThread) {
  ASSERT_EQ(pool_.size(), GetParam());
  std::vector<int> calls(static_cast<size_t>(pool_.size()), 0);  // plain: a lost one shows in tsan
  std::vector<std::thread::id> ids(calls.size());
  pool_.run([&](int thread) {
    ++calls[static_cast<size_t>(thread)];
    ids[static_cast<size_t>(thread)] = std::this_thread::get_id();
  });
  EXPECT_EQ(calls, std::vector<int>(calls.size(), 1));
  EXPECT_EQ(ids[0], std::this_thread::get_id()) << "the caller is thread 0";
  std::sort(ids.begin(), ids.end());
  EXPECT_EQ(std::unique(ids.begin(), ids.end()), ids.end());
}

TEST_P(ThreadPoolTest, RunsThousandsOfRegions) {
  std::vector<int64_t> sums(static_cast<size_t>(pool_.size()), 0);
  for (int region = 0; region < 3000; ++region) {
    pool_.run([&](int thread) { sums[static_cast<size_t>(thread)] += region; });
  }
  EXPECT_EQ(sums, std::vector<int64_t>(sums.size(), int64_t{3000} * 2999 / 2));
}

TEST_P(ThreadPoolTest, WakesSleepersAgainAndAgain) {
  std::atomic<int> calls{0};
  for (int region = 0; region < 30; ++region) {
    std::this_thread::sleep_for(std::chrono::microseconds(region * 10));
    pool_.run([&](int thread) {
      // Late threads, so that the caller sleeps too.
      if (thread % 2 == 1) std::this_thread::sleep_for(std::chrono::microseconds(100));
      ++calls;
    });
  }
  EXPECT_EQ(calls, 30 * pool_.size());
}

TEST_P(ThreadPoolTest, ParallelForCoversEveryIndexOnceInEvenRanges) {
  for (const int64_t count : {0, 1, 2, 3, 7, 8, 9, 100, 1001}) {
    for (const int64_t min_grain : {0, 1, 2, 50, 5000}) {
      std::vector<int> visits(static_cast<size_t>(count), 0);
      std::atomic<int64_t> shortest{count}, longest{0}, ranges{0};
      pool_.parallel_for(
          count,
          [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i) ++visits[static_cast<size_t>(i)];
            ++ranges;
            int64_t length = end - begin;
            for (int64_t s = shortest; s > length && !shortest.compare_exchange_weak(s, length);) {
            }
            for (int64_t s = longest; s < length && !longest.compare_exchange_weak(s, length);) {
            }
          },
          min_grain);
      ASSERT_EQ(visits, std::vector<int>(visits.size(), 1)) << count;
      ASSERT_LE(longest - shortest, 1) << count;
      ASSERT_LE(ranges, pool_.size());
      if (count > 0) {
        ASSERT_TRUE(ranges == 1 || shortest >= min_grain) << count;
      }
    }
  }
}

TEST_P(ThreadPoolTest, ParallelForDynamicCoversEveryIndexOnceInChunks) {
  for (const int64_t count : {0, 1, 5, 64, 1001}) {
    for (const int64_t grain : {1, 3, 64, 2000}) {
      std::vector<int> visits(static_cast<size_t>(count), 0);
      std::atomic<bool> fits{true};
      pool_.parallel_for_dynamic(count, grain, [&](int64_t begin, int64_t end, int thread) {
        if (end - begin > grain || end <= begin || thread < 0 || thread >= pool_.size()) {
          fits = false;
        }
        for (int64_t i = begin; i < end; ++i) ++visits[static_cast<size_t>(i)];
      });
      ASSERT_EQ(visits, std::vector<int>(visits.size(), 1)) << count;
      ASSERT_TRUE(fits) << "a chunk is never longer than the grain";
    }
  }
  EXPECT_THROW(pool_.parallel_for_dynamic(5, 0, [](int64_t, int64_t, int) {}), Error);
}

TEST_P(ThreadPoolTest, BarrierHoldsEveryThreadUntilTheLastHasCome) {
  constexpr int kRounds = 200;
  const auto n = static_cast<size_t>(pool_.size());
  std::vector<int> written(n, -1);
  std::atomic<int> wrong{0};
  pool_.run([&](int thread) {
    for (int round = 0; round < kRounds; ++round) {
      written[static_cast<size_t>(thread)] = round;
      pool_.barrier();
      for (size_t other = 0; other < n; ++other) {
        if (written[other] != round) ++wrong;
      }
      pool_.barrier();
    }
  });
  EXPECT_EQ(wrong, 0);
}

TEST_P(ThreadPoolTest, ThrowsATasksExceptionAgainAfterAllHaveFinished) {
  for (int failing = 0; failing < pool_.size(); ++failing) {
    std::atomic<int> finished{0};
    try {
      pool_.run([&](int thread) {
        if (thread == failing) throw std::runtime_error("thread " + std::to_string(thread));
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        ++finished;
      });
      FAIL() << "nothing was thrown";
    } catch (const std::runtime_error& e) {
      EXPECT_EQ(e.what(), "thread " + std::to_string(failing));
    }
    EXPECT_EQ(finished, pool_.size() - 1);
  }
  EXPECT_THROW(pool_.run([](int) { throw 1; }), int) << "all at once";
  std::atomic<int> calls{0};
  pool_.run([&](int) { ++calls; });
  EXPECT_EQ(calls, pool_.size()) << "the pool works on";
}

TEST_P(ThreadPoolTest, AFailureReleasesTheOthersFromABarrier) {
  for (int failing = 0; failing < pool_.size(); ++failing) {
    EXPECT_THROW(pool_.run([&](int thread) {
      for (int round = 0; round < 10; ++round) {
        if (thread == failing && round == 5) throw std::runtime_error("stop");
        pool_.barrier();
      }
    }),
                 std::runtime_error);
    std::atomic<int> passed{0};
    pool_.run([&](int) {
      pool_.barrier();
      ++passed;
      pool_.barrier();
    });
    EXPECT_EQ(passed, pool_.size()) << "barriers work on";
  }
}

TEST_P(ThreadPoolTest, RefusesARegionInsideARegionAndABarrierOutside) {
  std::atomic<int> refused{0};
  pool_.run([&](int) {
    try {
      pool_.run([](int) {});
    } catch (const Error& e) {
      if (e.code() == ErrorCode::kInternal) ++refused;
    }
  });
  EXPECT_EQ(refused, pool_.size());
  EXPECT_THROW(pool_.barrier(), Error);
}

TEST_P(ThreadPoolTest, IsDestroyedWhileIdle) {
  for (int i = 0; i < 20; ++i) {
    ThreadPool unused(GetParam());
    ThreadPool asleep(GetParam());
    asleep.run([](int) {});
    if (i % 4 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

TEST(ThreadPool, UsesNoCpuWhileIdle) {
  ThreadPool pool(8);
  pool.run([](int) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const double before = cpu_seconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_LT(cpu_seconds() - before, 0.03) << "a spinning thread would use 0.3";
}

TEST(ThreadPool, StaysCorrectWithManyMoreThreadsThanCpus) {
  ThreadPool pool(64);
  std::vector<int> calls(64, 0);
  for (int region = 0; region < 100; ++region) {
    pool.run([&](int thread) {
      pool.barrier();
      ++calls[static_cast<size_t>(thread)];
    });
  }
  EXPECT_EQ(calls, std::vector<int>(64, 100));
}

TEST(ThreadPool, TwoPoolsWorkSideBySide) {
  std::atomic<int> calls{0};
  const auto drive = [&] {
    ThreadPool pool(3);
    for (int region = 0; region < 500; ++region) pool.run([&](int) { ++calls; });
  };
  std::thread other(drive);
  drive();
  other.join();
  EXPECT_EQ(calls, 2 * 3 * 500);
}

TEST(ThreadPool, PinsItsThreadsButNotTheCaller) {
  const std::vector<int> allowed = affinity_mask();
  ThreadPool pool(std::vector<int>{allowed.front(), allowed.back(), -1});
  std::vector<std::vector<int>> masks(3);
  pool.run([&](int thread) { masks[static_cast<size_t>(thread)] = affinity_mask(); });
  EXPECT_EQ(masks[0], allowed);
  EXPECT_EQ(masks[1], std::vector<int>{allowed.back()});
  EXPECT_EQ(masks[2], allowed);
}

TEST(ThreadPool, WorksOnWhereACpuDoesNotExist) {
  ThreadPool pool(std::vector<int>{-1, 8000, 100000});
  std::atomic<int> calls{0};
  pool.run([&](int) { ++calls; });
  EXPECT_EQ(calls, 3);
}

TEST(ThreadPool, NeedsAtLeastOneThread) {
  EXPECT_THROW(ThreadPool(0), Error);
  EXPECT_THROW(ThreadPool(-3), Error);
  EXPECT_THROW(ThreadPool(std::vector<int>{}), Error);
}

}  // namespace
}  // namespace lanner
