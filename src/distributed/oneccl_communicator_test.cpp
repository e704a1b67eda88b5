// SPDX-License-Identifier: Apache-2.0
#include "distributed/oneccl_communicator.h"

#include <cmath>
#include <csignal>
#include <cstring>
#include <thread>

#include <gmock/gmock.h>

#include "distributed/connect_ranks.h"
#include "distributed/testing/rank_processes.h"

namespace lanner {
namespace {

using ::lanner::testing::failure_of;
using ::lanner::testing::run_rank_processes;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;

constexpr int64_t kElements = 100'000;

// A number whose sums over the ranks depend on the order of the additions.
float part(int rank, int64_t i) {
  return std::ldexp(static_cast<float>((i * 7919 + rank * 104729) % 1000 - 500), rank * 3 - 6);
}

std::vector<float> sum(Communicator& communicator, int64_t n) {
  ThreadPool threads(1);
  std::vector<float> y(static_cast<size_t>(n), 1.5f);
  const Tensor view(y.data(), DType::kF32, Shape{n});
  const PartialSum mine = communicator.begin_sum(view);
  EXPECT_FALSE(mine.accumulate);
  for (int64_t i = 0; i < n; ++i) mine.values.data<float>()[i] = part(communicator.rank(), i);
  communicator.finish_sum(view, threads);
  return y;
}

// The sums of all sizes are right within `tolerance` of their parts, and the same bits everywhere.
void expect_sums(Communicator& communicator, Rendezvous& rendezvous, float tolerance) {
  for (int64_t n : {int64_t{1}, int64_t{5}, int64_t{4096}, int64_t{8193}, kElements}) {
    const std::vector<float> y = sum(communicator, n);
    for (int64_t i = 0; i < n; ++i) {
      double expected = 1.5, size = 0;
      for (int r = 0; r < communicator.size(); ++r) {
        expected += part(r, i);
        size += std::abs(part(r, i));
      }
      ASSERT_NEAR(y[static_cast<size_t>(i)], expected, tolerance * size + 1e-6) << n << " " << i;
    }
    const std::string bits(reinterpret_cast<const char*>(y.data()), y.size() * sizeof(float));
    ASSERT_THAT(rendezvous.exchange(bits), Each(bits)) << n;
  }
}

void expect_gathers(Communicator& communicator) {
  for (size_t bytes : {size_t{0}, size_t{8}, size_t{320}, size_t{10'001}}) {
    const std::vector<std::byte> mine(bytes, static_cast<std::byte>(communicator.rank() + 1));
    std::vector<std::byte> all(bytes * static_cast<size_t>(communicator.size()));
    communicator.all_gather(mine, all);
    for (size_t i = 0; i < all.size(); ++i) {
      ASSERT_EQ(all[i], static_cast<std::byte>(i / bytes + 1));
    }
  }
}

void expect_broadcasts(Communicator& communicator) {
  for (size_t bytes : {0, 1, 100, 4064, 4065, 50'000, 7}) {
    std::vector<std::byte> message;
    if (communicator.rank() == 0) message.assign(bytes, static_cast<std::byte>(bytes % 251));
    const auto received = communicator.broadcast(std::move(message));
    ASSERT_EQ(received.size(), bytes);
    ASSERT_THAT(received, Each(static_cast<std::byte>(bytes % 251)));
  }
}

OneCclOptions options_of(DType wire = DType::kF32) {
  // Tests have more ranks than CPUs, on machines that are busy with other tests.
  return {.plugin = "",
          .sum_elements = kElements,
          .wire = wire,
          .stall_time = seconds(120),
          .has_cpu_for_each = false};
}

class OneCclTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string problem = oneccl_problem();
    if (!problem.empty()) GTEST_SKIP() << problem;
  }
};

TEST_F(OneCclTest, CollectivesOfTwoAndThreeRanks) {
  for (int size : {2, 3}) {
    EXPECT_THAT(run_rank_processes(size,
                                   [](std::shared_ptr<Rendezvous> rendezvous) {
                                     const auto communicator =
                                         make_oneccl_communicator(rendezvous, options_of());
                                     EXPECT_EQ(communicator->rank(), rendezvous->rank());
                                     EXPECT_STREQ(communicator->backend(), "oneccl");
                                     expect_sums(*communicator, *rendezvous, 1e-6f);
                                     expect_gathers(*communicator);
                                     expect_broadcasts(*communicator);
                                     communicator->barrier();
                                     const CommunicatorStats stats = communicator->stats();
                                     EXPECT_EQ(stats.sums, 5u);
                                     EXPECT_GT(stats.sum_bytes, 0u);
                                     EXPECT_EQ(stats.sum_bytes_copied, 0u);
                                   }),
                Each(0))
        << size;
  }
}

TEST_F(OneCclTest, SumsTravelAsBf16) {
  EXPECT_THAT(run_rank_processes(2,
                                 [](std::shared_ptr<Rendezvous> rendezvous) {
                                   const auto communicator = make_oneccl_communicator(
                                       rendezvous, options_of(DType::kBf16));
                                   // Each part and their sum are rounded to 8 bits.
                                   expect_sums(*communicator, *rendezvous, 0x1p-7f);
                                   communicator->barrier();
                                 }),
              Each(0));
}

TEST_F(OneCclTest, IdleRanksWaitForWork) {
  EXPECT_THAT(run_rank_processes(2,
                                 [](std::shared_ptr<Rendezvous> rendezvous) {
                                   const auto communicator =
                                       make_oneccl_communicator(rendezvous, options_of());
                                   for (int i = 0; i < 3; ++i) {
                                     if (communicator->rank() == 0) {
                                       std::this_thread::sleep_for(milliseconds(200));
                                     }
                                     expect_broadcasts(*communicator);
                                   }
                                   communicator->barrier();
                                 }),
              Each(0));
}

TEST_F(OneCclTest, AKilledRankIsAnError) {
  const std::vector<int> statuses =
      run_rank_processes(2, [](std::shared_ptr<Rendezvous> rendezvous) {
        const auto communicator = make_oneccl_communicator(rendezvous, options_of());
        sum(*communicator, 4096);
        rendezvous->exchange("");  // both have it: a death is noticed in the midst of one, too
        if (communicator->rank() == 1) raise(SIGKILL);
        EXPECT_THAT(failure_of([&] { sum(*communicator, 4096); }),
                    AllOf(HasSubstr("rank 1 (host "), HasSubstr("has died")));
        // It stays of no use, and ends.
        EXPECT_THAT(failure_of([&] { communicator->barrier(); }), HasSubstr("has died"));
      });
  EXPECT_EQ(statuses[0], 0);
  EXPECT_TRUE(WIFSIGNALED(statuses[1]));
}

TEST_F(OneCclTest, ARanksReasonReachesTheOthers) {
  EXPECT_THAT(run_rank_processes(2,
                                 [](std::shared_ptr<Rendezvous> rendezvous) {
                                   const auto communicator =
                                       make_oneccl_communicator(rendezvous, options_of());
                                   if (communicator->rank() == 1) communicator->fail("no memory");
                                   EXPECT_THAT(failure_of([&] { sum(*communicator, 16); }),
                                               AllOf(HasSubstr("rank 1 (host "),
                                                     HasSubstr(") has failed: no memory")));
                                 }),
              Each(0));
}

TEST_F(OneCclTest, ARankThatDoesNotComeOrHasLeftIsAnError) {
  EXPECT_THAT(run_rank_processes(2,
                                 [](std::shared_ptr<Rendezvous> rendezvous) {
                                   OneCclOptions options = options_of();
                                   options.stall_time = seconds(2);
                                   const auto communicator =
                                       make_oneccl_communicator(rendezvous, options);
                                   if (communicator->rank() == 1) {
                                     rendezvous->exchange("has seen it");
                                     return;
                                   }
                                   EXPECT_THAT(failure_of([&] { sum(*communicator, 16); }),
                                               HasSubstr("kept rank 0 waiting in a sum for 2 s"));
                                   rendezvous->exchange("has seen it");
                                 }),
              Each(0));
}

TEST_F(OneCclTest, RanksOfOneHostTakeTheFasterOfBoth) {
  EXPECT_THAT(run_rank_processes(2,
                                 [](std::shared_ptr<Rendezvous> rendezvous) {
                                   ThreadPool threads(1);
                                   const auto communicator =
                                       connect_ranks(rendezvous,
                                                     {.sum_elements = kElements,
                                                      .stall_time = seconds(120),
                                                      .has_cpu_for_each = true},
                                                     threads);
                                   expect_sums(*communicator, *rendezvous, 1e-6f);
                                   communicator->barrier();
                                 }),
              Each(0));
}

TEST_F(OneCclTest, EachSizeGoesItsWay) {
  EXPECT_THAT(
      run_rank_processes(2,
                         [](std::shared_ptr<Rendezvous> rendezvous) {
                           ThreadPool threads(1);
                           const auto connect = [&](const char* backend) {
                             return connect_ranks(rendezvous,
                                                  {.backend = backend,
                                                   .sum_elements = kElements,
                                                   .stall_time = seconds(120),
                                                   .has_cpu_for_each = false},
                                                  threads);
                           };
                           auto shm = connect("shm"), oneccl = connect("oneccl");
                           const int64_t n = measure_crossover(*shm, *oneccl, kElements, threads);
                           EXPECT_GT(n, 0);
                           rendezvous->agree("crossover", std::to_string(n));
                           const Communicator& first = *shm;
                           const Communicator& second = *oneccl;
                           const uint64_t before[] = {first.stats().sums, second.stats().sums};
                           const auto both =
                               make_faster_communicator(std::move(shm), std::move(oneccl), 4097);
                           expect_sums(*both, *rendezvous, 1e-6f);
                           expect_gathers(*both);
                           expect_broadcasts(*both);
                           EXPECT_EQ(first.stats().sums, before[0] + 3);
                           EXPECT_EQ(second.stats().sums, before[1] + 2);
                           both->barrier();
                         }),
      Each(0));
}

TEST(ConnectRanks, SharesMemoryBetweenProcesses) {
  EXPECT_THAT(run_rank_processes(3,
                                 [](std::shared_ptr<Rendezvous> rendezvous) {
                                   ThreadPool threads(1);
                                   const auto communicator =
                                       connect_ranks(rendezvous,
                                                     {.backend = "shm",
                                                      .sum_elements = kElements,
                                                      .stall_time = seconds(120),
                                                      .has_cpu_for_each = false},
                                                     threads);
                                   EXPECT_STREQ(communicator->backend(), "shm");
                                   expect_sums(*communicator, *rendezvous, 1e-6f);
                                   expect_gathers(*communicator);
                                   expect_broadcasts(*communicator);
                                   communicator->barrier();
                                 }),
              Each(0));
}

TEST(ConnectRanks, ARankThatStandsStillIsAnErrorAlsoToIdleRanks) {
  const std::vector<int> statuses =
      run_rank_processes(3, [](std::shared_ptr<Rendezvous> rendezvous) {
        ThreadPool threads(1);
        const auto communicator = connect_ranks(rendezvous,
                                                {.backend = "shm",
                                                 .sum_elements = kElements,
                                                 .stall_time = seconds(120),
                                                 .has_cpu_for_each = false},
                                                threads);
        communicator->barrier();
        // Whoever is stopped is ended by the test's rank 1, which outlives the job.
        const std::vector<std::string> ids = rendezvous->exchange(std::to_string(getpid()));
        if (communicator->rank() == 0) {
          raise(SIGSTOP);
          return;
        }
        const std::string failure = failure_of([&] { communicator->broadcast({}); });
        if (communicator->rank() == 1) {
          EXPECT_THAT(failure,
                      AllOf(HasSubstr("rank 0 (host "), HasSubstr("has been silent for 5.0 s")));
          kill(std::stoi(ids[0]), SIGKILL);
        } else {
          EXPECT_THAT(failure, HasSubstr("rank 0 ("));  // it may have been ended by now
        }
      });
  EXPECT_TRUE(WIFSIGNALED(statuses[0]));
  EXPECT_EQ(statuses[1], 0);
  EXPECT_EQ(statuses[2], 0);
}

TEST(ConnectRanks, WhatCannotBeUsedIsRefusedOnEveryRank) {
  EXPECT_THAT(
      run_rank_processes(
          2,
          [](std::shared_ptr<Rendezvous> rendezvous) {
            ThreadPool threads(1);
            ConnectOptions options{.backend = "oneccl",
                                   .sum_elements = kElements,
                                   .oneccl_plugin = "/nowhere/liblanner_ccl.so"};
            EXPECT_THAT(failure_of([&] { connect_ranks(rendezvous, options, threads); }),
                        AllOf(HasSubstr("rank 0 (host "), HasSubstr("/nowhere/liblanner_ccl.so"),
                              HasSubstr("scripts/install_oneccl.sh")));
            options.backend = "pigeons";
            EXPECT_THAT(failure_of([&] { connect_ranks(rendezvous, options, threads); }),
                        HasSubstr("the backend is 'pigeons'; there are: auto, shm, oneccl"));
            options = {.backend = "auto", .sum_elements = 100 + rendezvous->rank()};
            EXPECT_THAT(failure_of([&] { connect_ranks(rendezvous, options, threads); }),
                        HasSubstr("the size of the ranks' sums is 100 elements, auto on rank 0"));
          }),
      Each(0));
}

}  // namespace
}  // namespace lanner
