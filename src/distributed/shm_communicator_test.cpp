// SPDX-License-Identifier: Apache-2.0
#include "distributed/shm_communicator.h"

#include <csignal>
#include <cstring>
#include <functional>
#include <thread>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "distributed/message.h"

namespace lanner {
namespace {

constexpr ShmSizes kSizes{.ranks = 0, .sum_elements = 100'000, .message_bytes = 4096};

ShmSizes sizes_of(int ranks) {
  ShmSizes sizes = kSizes;
  sizes.ranks = ranks;
  return sizes;
}

ShmOptions options_of(int rank) {
  // Tests have more ranks than CPUs, on machines that are busy with other tests.
  return {.rank = rank, .stall_time = std::chrono::seconds(120), .has_cpu_for_each = false};
}

// Runs a job of `ranks` threads, each with a communicator of its own.
void run_ranks(int ranks, const std::function<void(Communicator&)>& task) {
  const auto segment = ShmSegment::create(sizes_of(ranks));
  std::vector<std::thread> threads;
  for (int r = 0; r < ranks; ++r) {
    threads.emplace_back([&, r] {
      const auto communicator = make_shm_communicator(segment, options_of(r));
      ASSERT_NO_THROW(task(*communicator)) << "rank " << r;
      communicator->barrier();
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// A number whose sums over the ranks depend on the order of the additions.
float part(int rank, int64_t i) {
  return std::ldexp(static_cast<float>((i * 7919 + rank * 104729) % 1000 - 500), rank * 3 - 6);
}

class SumTest : public testing::TestWithParam<std::tuple<int, int64_t>> {};

TEST_P(SumTest, AddsThePartsInTheOrderOfTheRanksOnEveryRank) {
  const auto [ranks, n] = GetParam();
  std::vector<float> expected(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    float sum = part(0, i);
    for (int r = 1; r < ranks; ++r) sum += part(r, i);
    expected[static_cast<size_t>(i)] = 1.5f + sum + sum;
  }
  run_ranks(ranks, [&, n = n](Communicator& communicator) {
    ThreadPool threads(2);
    std::vector<float> y(static_cast<size_t>(n), 1.5f);
    const Tensor view(y.data(), DType::kF32, Shape{n});
    std::vector<float> twice = y;
    for (int step = 0; step < 2; ++step) {
      const PartialSum sum = communicator.begin_sum(view);
      ASSERT_FALSE(sum.accumulate);
      for (int64_t i = 0; i < n; ++i) {
        sum.values.data<float>()[i] = part(communicator.rank(), i);
      }
      communicator.finish_sum(view, threads);
    }
    EXPECT_EQ(0, std::memcmp(y.data(), expected.data(), expected.size() * sizeof(float)));
    EXPECT_EQ(communicator.stats().sums, 2u);
    EXPECT_EQ(communicator.stats().sum_bytes_copied, 0u);
    EXPECT_GT(communicator.stats().sum_bytes, 0u);
  });
}

INSTANTIATE_TEST_SUITE_P(Ranks, SumTest,
                         testing::Combine(testing::Values(2, 3, 4, 8),
                                          testing::Values(1, 5, 4096, 8193, 100'000)));

TEST(ShmCommunicator, ManySumsInARowStayApart) {
  run_ranks(3, [](Communicator& communicator) {
    ThreadPool threads(1);
    for (int step = 0; step < 500; ++step) {
      // One-shot sums and those in two halves in turn.
      const int64_t n = step % 3 == 0 ? 9000 : 1 + step % 7;
      std::vector<float> y(static_cast<size_t>(n), 0.0f);
      const Tensor view(y.data(), DType::kF32, Shape{n});
      const PartialSum sum = communicator.begin_sum(view);
      std::fill_n(sum.values.data<float>(), n, static_cast<float>(step + communicator.rank()));
      communicator.finish_sum(view, threads);
      ASSERT_THAT(y, testing::Each(static_cast<float>(3 * step + 3)));
    }
  });
}

TEST(ShmCommunicator, GathersPiecesLongerThanItsMessages) {
  for (size_t bytes : {size_t{0}, size_t{8}, size_t{4096}, size_t{10'001}}) {
    run_ranks(4, [&](Communicator& communicator) {
      const std::vector<std::byte> mine(bytes, static_cast<std::byte>(communicator.rank() + 1));
      std::vector<std::byte> all(bytes * 4);
      communicator.all_gather(mine, all);
      for (size_t i = 0; i < all.size(); ++i) {
        ASSERT_EQ(all[i], static_cast<std::byte>(i / bytes + 1));
      }
    });
  }
}

TEST(ShmCommunicator, BroadcastsMessagesOfAnyLength) {
  run_ranks(3, [](Communicator& communicator) {
    for (size_t bytes : {0, 1, 100, 4064, 4065, 50'000, 7}) {
      std::vector<std::byte> message;
      if (communicator.rank() == 0) message.assign(bytes, static_cast<std::byte>(bytes % 251));
      const auto received = communicator.broadcast(std::move(message));
      ASSERT_EQ(received.size(), bytes);
      ASSERT_THAT(received, testing::Each(static_cast<std::byte>(bytes % 251)));
    }
  });
}

// What `task` throws, or an empty string.
std::string failure_of(const std::function<void()>& task) {
  try {
    task();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

void sum_once(Communicator& communicator, int64_t n = 16) {
  ThreadPool threads(1);
  std::vector<float> y(static_cast<size_t>(n));
  const Tensor view(y.data(), DType::kF32, Shape{n});
  std::fill_n(communicator.begin_sum(view).values.data<float>(), n, 1.0f);
  communicator.finish_sum(view, threads);
}

TEST(ShmCommunicator, RanksInDifferentCollectivesAreAnError) {
  const auto segment = ShmSegment::create(sizes_of(2));
  std::string failures[2];
  std::thread other([&] {
    const auto communicator = make_shm_communicator(segment, options_of(1));
    failures[1] = failure_of([&] {
      try {
        communicator->barrier();
      } catch (...) {
        communicator->fail("out of step");
        throw;
      }
    });
  });
  const auto communicator = make_shm_communicator(segment, options_of(0));
  failures[0] = failure_of([&] { sum_once(*communicator); });
  communicator->fail("out of step");
  other.join();
  EXPECT_THAT(failures[0], testing::HasSubstr("rank 1 is in a barrier"));
  EXPECT_THAT(failures[1], testing::HasSubstr("rank 0 is in a sum of size 16"));
}

TEST(ShmCommunicator, ARanksReasonReachesTheOthers) {
  const auto segment = ShmSegment::create(sizes_of(2));
  const auto communicator = make_shm_communicator(segment, options_of(0));
  std::thread other([&] {
    const auto failing = make_shm_communicator(segment, options_of(1));
    failing->fail("[weights] model.safetensors: no tensor 'x'");
  });
  EXPECT_EQ(failure_of([&] { communicator->barrier(); }),
            "[distributed] rank 1 has failed: [weights] model.safetensors: no tensor 'x'");
  other.join();
}

TEST(ShmCommunicator, ARankThatLeavesIsAnError) {
  const auto segment = ShmSegment::create(sizes_of(2));
  const auto communicator = make_shm_communicator(segment, options_of(0));
  std::thread([&] { make_shm_communicator(segment, options_of(1)); }).join();
  EXPECT_THAT(failure_of([&] { sum_once(*communicator); }), testing::HasSubstr("rank 1"));
}

TEST(ShmCommunicator, ARankThatDoesNotComeIsAnError) {
  const auto segment = ShmSegment::create(sizes_of(2));
  ShmOptions options = options_of(0);
  options.stall_time = std::chrono::seconds(1);
  const auto communicator = make_shm_communicator(segment, options);
  EXPECT_THAT(failure_of([&] { sum_once(*communicator); }),
              testing::HasSubstr("has kept rank 0 waiting for 1 s"));
}

TEST(ShmCommunicator, AProcessThatIsKilledIsAnError) {
  const auto segment = ShmSegment::create(sizes_of(2));
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto communicator =
        make_shm_communicator(ShmSegment::map(segment->descriptor()), options_of(1));
    sum_once(*communicator);
    raise(SIGKILL);
  }
  const auto communicator = make_shm_communicator(segment, options_of(0));
  sum_once(*communicator);
  EXPECT_THAT(failure_of([&] { communicator->barrier(); }),
              testing::HasSubstr("(process " + std::to_string(child) + ") has ended"));
  EXPECT_EQ(waitpid(child, nullptr, 0), child);
}

TEST(ShmSegment, RefusesDescriptorsThatAreNotOne) {
  const int empty = memfd_create("empty", 0);
  EXPECT_THAT(failure_of([&] { ShmSegment::map(empty); }),
              testing::HasSubstr("no memory of a rank"));
  close(empty);
  EXPECT_THAT(failure_of([&] { ShmSegment::map(-1); }), testing::HasSubstr("no memory of a rank"));
  const int null = open("/dev/null", O_RDWR);
  EXPECT_THAT(failure_of([&] { ShmSegment::map(null); }),
              testing::HasSubstr("no memory of a rank"));
  close(null);
}

TEST(ShmSegment, RefusesAHeaderThatPromisesTooMuch) {
  const auto segment = ShmSegment::create(sizes_of(2));
  ASSERT_NO_THROW(ShmSegment::map(segment->descriptor()));
  int64_t ranks = 3;
  ASSERT_EQ(pwrite(segment->descriptor(), &ranks, sizeof(ranks), 8),
            static_cast<ssize_t>(sizeof(ranks)));
  EXPECT_THAT(failure_of([&] { ShmSegment::map(segment->descriptor()); }),
              testing::HasSubstr("no memory of a rank"));
}

TEST(ShmSegment, CannotBeShrunkUnderTheRanks) {
  const auto segment = ShmSegment::create(sizes_of(2));
  EXPECT_NE(ftruncate(segment->descriptor(), 100), 0);
}

TEST(Message, DamageIsAnError) {
  std::vector<std::byte> body(100, std::byte{7});
  const MessageHeader header = make_message_header(3, body);
  EXPECT_NO_THROW(check_message_header(header, 3));
  EXPECT_NO_THROW(check_message_body(header, body));
  EXPECT_THAT(failure_of([&] { check_message_header(header, 4); }),
              testing::HasSubstr("message 3 came where 4 was due"));
  body[50] = std::byte{8};
  EXPECT_THAT(failure_of([&] { check_message_body(header, body); }), testing::HasSubstr("damaged"));
  MessageHeader foreign = header;
  foreign.magic = 1;
  EXPECT_THROW(check_message_header(foreign, 3), Error);
  MessageHeader huge = header;
  huge.bytes = uint64_t{1} << 60;
  EXPECT_THROW(check_message_header(huge, 3), Error);
}

}  // namespace
}  // namespace lanner
