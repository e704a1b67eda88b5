// SPDX-License-Identifier: Apache-2.0
#include "distributed/rendezvous.h"

#include <atomic>
#include <csignal>
#include <functional>
#include <future>
#include <random>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"

namespace lanner {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::AllOf;
using testing::HasSubstr;

constexpr const char* kSecret = "0123456789abcdef";

// What `task` throws, or an empty string.
std::string failure_of(const std::function<void()>& task) {
  try {
    task();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

// A job on this machine; rank 0 chooses the port.
class LocalJob {
 public:
  LocalJob() { set_log_level(LogLevel::kOff); }  // strangers are warned of
  ~LocalJob() { set_log_level(LogLevel::kWarn); }

  RendezvousOptions host_options(int size) {
    return {.address = {.host = "127.0.0.1", .port = 0},
            .secret = kSecret,
            .rank = 0,
            .size = size,
            .version = "1.2.3",
            .timeout = seconds(60),
            .silent_time = seconds(60),
            .on_listening = [this](uint16_t port) { port_.set_value(port); }};
  }

  RendezvousOptions join_options(int rank = -1) {
    return {.address = {.host = "127.0.0.1", .port = port()},
            .secret = kSecret,
            .rank = rank,
            .size = 0,
            .version = "1.2.3",
            .timeout = seconds(60)};
  }

  // Waits until rank 0 listens.
  uint16_t port() { return listening_.get(); }

  // Runs a job of `size` threads.
  void run_ranks(
      int size, const std::function<void(Rendezvous&)>& task,
      const std::function<void()>& before = [] {}) {
    std::vector<std::thread> threads;
    for (int r = 0; r < size; ++r) {
      threads.emplace_back([&, r] {
        if (r > 0) before();
        EXPECT_EQ(failure_of([&] {
                    Rendezvous rendezvous(r == 0 ? host_options(size) : join_options());
                    task(rendezvous);
                    rendezvous.exchange("end");  // nobody leaves while others are at work
                  }),
                  "");
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

 private:
  std::promise<uint16_t> port_;
  std::shared_future<uint16_t> listening_ = port_.get_future().share();
};

class RendezvousTest : public testing::Test, protected LocalJob {};

TEST(HostPort, IsParsed) {
  EXPECT_EQ(parse_host_port("node-1:29500").host, "node-1");
  EXPECT_EQ(parse_host_port("node-1:29500").port, 29500);
  EXPECT_EQ(parse_host_port("[fe80::1]:80").host, "fe80::1");
  for (const char* bad : {"", "node", "node:", ":80", "node:x", "node:65536", "node:-1", "node:80 ",
                          "fe80::1:80", "[]:80"}) {
    EXPECT_THAT(failure_of([&] { parse_host_port(bad); }), HasSubstr("expected HOST:PORT")) << bad;
  }
}

TEST_F(RendezvousTest, RanksMeetAndExchangeWhatTheySay) {
  for (int size : {1, 2, 5}) {
    LocalJob job;
    std::atomic<int> sum = 0;
    job.run_ranks(size, [&](Rendezvous& rendezvous) {
      sum += rendezvous.rank();
      EXPECT_EQ(rendezvous.size(), size);
      EXPECT_TRUE(rendezvous.is_one_host());
      EXPECT_EQ(rendezvous.interface(), size == 1 ? "" : "lo");
      for (size_t bytes : {size_t{0}, size_t{1}, size_t{100'000}}) {
        const auto all =
            rendezvous.exchange(std::string(bytes, static_cast<char>('a' + rendezvous.rank())));
        ASSERT_EQ(all.size(), static_cast<size_t>(size));
        for (int r = 0; r < size; ++r) {
          EXPECT_EQ(all[static_cast<size_t>(r)], std::string(bytes, static_cast<char>('a' + r)));
        }
      }
      rendezvous.agree("dtype", "int8");
    });
    EXPECT_EQ(sum, size * (size - 1) / 2);
  }
}

TEST_F(RendezvousTest, RanksGetTheNumbersTheyWish) {
  std::vector<std::thread> threads;
  for (int wish : {3, 1, -1}) {
    threads.emplace_back([this, wish] {
      Rendezvous rendezvous(join_options(wish));
      EXPECT_EQ(rendezvous.rank(), wish == -1 ? 2 : wish);
      rendezvous.exchange("end");
    });
  }
  Rendezvous rendezvous(host_options(4));
  rendezvous.exchange("end");
  for (std::thread& thread : threads) thread.join();
}

TEST_F(RendezvousTest, NumbersThatAreTakenOrNoneAreRefused) {
  std::atomic<int> refused = 0;
  std::vector<std::thread> threads;
  for (int r = 1; r < 3; ++r) {
    threads.emplace_back([&] {
      EXPECT_THAT(failure_of([&] { Rendezvous stranger(join_options(17)); }),
                  HasSubstr("has turned this rank away: rank 17 of 3 is none of the job"));
      // One of the two is second.
      const std::string failure = failure_of([&] {
        Rendezvous rendezvous(join_options(1));
        rendezvous.exchange("end");
      });
      if (failure.empty()) return;
      EXPECT_THAT(failure, HasSubstr("rank 1 of 3 is there already"));
      ++refused;
      Rendezvous rendezvous(join_options());
      EXPECT_EQ(rendezvous.rank(), 2);
      rendezvous.exchange("end");
    });
  }
  Rendezvous rendezvous(host_options(3));
  rendezvous.exchange("end");
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(refused, 1);
}

TEST_F(RendezvousTest, StrangersDisturbNobody) {
  std::promise<void> strangers_went;
  auto went = strangers_went.get_future().share();
  std::vector<TcpSocket> silent;
  std::thread strangers([&] {
    const HostPort address{.host = "127.0.0.1", .port = port()};
    const auto deadline = [] { return std::chrono::steady_clock::now() + seconds(60); };
    // More that say nothing than are kept.
    for (int i = 0; i < 80; ++i) silent.push_back(TcpSocket::connect(address, deadline()));
    // One that knows another secret.
    RendezvousOptions other = join_options();
    other.secret = "another secret of a job";
    EXPECT_THAT(failure_of([&] { Rendezvous stranger(other); }),
                AllOf(HasSubstr("its secret is another"), HasSubstr("not that of the job")));
    // Bytes of other protocols, and noise of all lengths around that of a request.
    std::mt19937 random(7);
    std::vector<std::string> texts = {"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                                      std::string(1 << 20, 'x')};
    for (size_t bytes : {1, 7, 8, 9, 100, 191, 192, 193, 500}) {
      std::string noise(bytes, '\0');
      for (char& c : noise) c = static_cast<char>(random());
      texts.push_back(noise);
      // The same behind the first words of a request.
      std::string request("LANNRDZ1\1\0\0\0\0\0\0\0", 16);
      texts.push_back(request + noise);
      request[8] = 9;
      texts.push_back(request + noise);
    }
    for (const std::string& text : texts) {
      TcpSocket stranger = TcpSocket::connect(address, deadline());
      failure_of([&] { stranger.send_all(std::as_bytes(std::span(text)), deadline()); });
    }
    strangers_went.set_value();
  });
  run_ranks(
      3, [](Rendezvous& rendezvous) { EXPECT_EQ(rendezvous.exchange("hello").size(), 3u); },
      [&] { went.wait(); });
  strangers.join();
}

TEST_F(RendezvousTest, AListenerWithoutTheSecretIsNotJoined) {
  // It answers a request as a rank 0 would, but cannot prove itself.
  TcpListener listener({.host = "127.0.0.1", .port = 0});
  std::thread liar([&] {
    std::optional<TcpSocket> socket;
    while (!(socket = listener.accept())) std::this_thread::sleep_for(milliseconds(1));
    const auto deadline = std::chrono::steady_clock::now() + seconds(60);
    std::string challenge("LANNRDZ1\1\0\0\0\0\0\0\0", 16);
    challenge.resize(48, 'n');
    socket->send_all(std::as_bytes(std::span(challenge)), deadline);
    std::vector<std::byte> request(192);
    socket->receive_all(request, deadline);
    std::string answer("\1\0\0\0\1\0\0\0\2\0\0\0\xff\xff\0\0", 16);
    answer.resize(16 + 512 + 32, '\0');
    socket->send_all(std::as_bytes(std::span(answer)), deadline);
  });
  RendezvousOptions options = host_options(2);
  options.rank = 1;
  options.address.port = listener.port();
  EXPECT_THAT(failure_of([&] { Rendezvous rendezvous(options); }),
              HasSubstr("does not know the job's secret"));
  liar.join();
}

TEST_F(RendezvousTest, AnotherVersionEndsTheJobOnEveryRank) {
  std::vector<std::thread> threads;
  threads.emplace_back([this] {
    EXPECT_THAT(failure_of([&] { Rendezvous rank(join_options()); }), HasSubstr("is Lanner 9.9"));
  });
  threads.emplace_back([this] {
    RendezvousOptions other = join_options();
    other.version = "9.9";
    // Rank 0 has the other one's request before it ends.
    port();
    std::this_thread::sleep_for(milliseconds(300));
    EXPECT_THAT(failure_of([&] { Rendezvous rank(other); }),
                AllOf(HasSubstr("is Lanner 9.9, rank 0 is 1.2.3")));
  });
  EXPECT_THAT(failure_of([&] { Rendezvous rank(host_options(3)); }),
              HasSubstr("is Lanner 9.9, rank 0 is 1.2.3"));
  for (std::thread& thread : threads) thread.join();
}

TEST_F(RendezvousTest, AnotherNumberOfRanksEndsTheJob) {
  std::thread thread([this] {
    RendezvousOptions other = join_options();
    other.size = 4;
    EXPECT_THAT(failure_of([&] { Rendezvous rank(other); }),
                HasSubstr("expects 4 ranks, rank 0 expects 3"));
  });
  EXPECT_THAT(failure_of([&] { Rendezvous rank(host_options(3)); }),
              HasSubstr("expects 4 ranks, rank 0 expects 3"));
  thread.join();
}

TEST_F(RendezvousTest, MissingRanksAreNamedAfterTheTime) {
  RendezvousOptions options = host_options(3);
  options.timeout = milliseconds(200);
  EXPECT_THAT(failure_of([&] { Rendezvous rank(options); }),
              HasSubstr("1 of 3 ranks have come to 127.0.0.1:"));
  options = host_options(2);
  options.rank = 1;
  options.address.port = 1;  // nobody listens there
  options.timeout = milliseconds(200);
  EXPECT_THAT(failure_of([&] { Rendezvous rank(options); }),
              HasSubstr("cannot reach 127.0.0.1:1: Connection refused"));
}

TEST_F(RendezvousTest, SettingsThatMakeNoSenseAreRefused) {
  const auto failure = [&](auto change) {
    RendezvousOptions options = host_options(2);
    change(options);
    return failure_of([&] { Rendezvous rank(options); });
  };
  EXPECT_THAT(failure([](auto& o) { o.secret = "short"; }), HasSubstr("has 5 characters"));
  EXPECT_THAT(failure([](auto& o) { o.size = 0; }), HasSubstr("rank 0 has to know the number"));
  EXPECT_THAT(failure([](auto& o) { o.rank = 2; }), HasSubstr("rank 2 of 2 ranks"));
  EXPECT_THAT(failure([](auto& o) { o.size = 100'000; }), HasSubstr("100000 ranks; at most"));
}

TEST_F(RendezvousTest, DifferentModelsAreNamedOnEveryRank) {
  std::vector<std::string> failures(3);
  run_ranks(3, [&](Rendezvous& rendezvous) {
    const int rank = rendezvous.rank();
    failures[static_cast<size_t>(rank)] = failure_of(
        [&] { rendezvous.agree("model", rank == 2 ? "Qwen (hash 2)" : "Llama (hash 1)"); });
  });
  const std::string host = this_host().name;
  for (const std::string& failure : failures) {
    EXPECT_EQ(failure, "[distributed] the model is Llama (hash 1) on rank 0 (host " + host +
                           "), Qwen (hash 2) on rank 2 (host " + host + ")");
  }
}

TEST_F(RendezvousTest, ARanksReasonReachesTheOthers) {
  std::vector<std::string> failures(3);
  std::vector<std::thread> threads;
  for (int r = 0; r < 3; ++r) {
    threads.emplace_back([&, r] {
      Rendezvous rendezvous(r == 0 ? host_options(3) : join_options(r));
      failures[static_cast<size_t>(r)] = failure_of([&] {
        rendezvous.exchange("ready");
        if (r == 1) rendezvous.fail("[weights] no tensor 'x'");
        rendezvous.exchange("");
      });
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& failure : failures) {
    EXPECT_THAT(failure, AllOf(HasSubstr("rank 1 (host "),
                               HasSubstr(") has failed: [weights] no tensor 'x'")));
  }
}

TEST_F(RendezvousTest, ARankThatLeavesIsMissedOnlyByThoseThatWait) {
  std::thread thread([this] { Rendezvous rendezvous(join_options()); });
  Rendezvous rendezvous(host_options(2));
  thread.join();
  while (!rendezvous.has_left()) rendezvous.wait_for_wake(milliseconds(10));
  EXPECT_FALSE(rendezvous.has_failed());
  EXPECT_THAT(failure_of([&] { rendezvous.exchange(""); }), HasSubstr("has left"));
}

TEST_F(RendezvousTest, ARankThatDoesNotComeToAnExchangeIsNamed) {
  std::promise<void> done;
  std::thread thread([&] {
    Rendezvous rendezvous(join_options());
    done.get_future().wait();
  });
  {
    Rendezvous rendezvous(host_options(2));
    EXPECT_THAT(failure_of([&] { rendezvous.exchange("", milliseconds(100)); }),
                AllOf(HasSubstr("rank 1 (host "), HasSubstr("does not come")));
    done.set_value();
  }
  thread.join();
}

TEST_F(RendezvousTest, WhatARankPublishesIsFoundByAll) {
  const auto task = [](Rendezvous& rendezvous) {
    const int rank = rendezvous.rank();
    EXPECT_FALSE(rendezvous.look_up("nobody's", milliseconds(1)));
    rendezvous.publish(fmt::format("of {}", rank), fmt::format("{} bytes\n{}", rank, '\0'));
    for (int other = 0; other < rendezvous.size(); ++other) {
      EXPECT_EQ(rendezvous.look_up(fmt::format("of {}", other), seconds(30)),
                fmt::format("{} bytes\n{}", other, '\0'));
    }
    // One after the other, each when it has seen the one before: who sees the last sees all.
    const auto turn = [](int number) { return fmt::format("turn {}", number); };
    if (rank > 0) {
      EXPECT_TRUE(rendezvous.look_up(turn(rank - 1), seconds(30)));
    }
    rendezvous.publish("latest", turn(rank));
    rendezvous.publish(turn(rank), "");
    EXPECT_EQ(rendezvous.look_up(turn(rendezvous.size() - 1), seconds(30)), "");
    EXPECT_EQ(rendezvous.look_up("latest", milliseconds(0)), turn(rendezvous.size() - 1));
  };
  for (int size : {1, 2, 4}) {
    LocalJob job;
    job.run_ranks(size, task);
  }
}

TEST_F(RendezvousTest, WaitingRanksAreWoken) {
  std::thread thread([&] {
    Rendezvous rendezvous(join_options());
    rendezvous.exchange("");
    rendezvous.wait_for_wake(seconds(60));
    rendezvous.exchange("awake");
  });
  Rendezvous rendezvous(host_options(2));
  rendezvous.exchange("");
  rendezvous.wake();  // maybe before the other one waits
  rendezvous.exchange("", seconds(30));
  thread.join();
}

// Passes bytes on between a rank and rank 0; damages those to rank 0 from the `from`th on.
void run_damaging_wire(TcpListener& listener, HostPort to, size_t from) {
  std::optional<TcpSocket> a;
  while (!(a = listener.accept())) std::this_thread::sleep_for(milliseconds(1));
  const auto deadline = std::chrono::steady_clock::now() + seconds(60);
  TcpSocket b = TcpSocket::connect(to, deadline);
  std::vector<std::byte> data(4096);
  size_t passed = 0;
  for (;;) {
    pollfd entries[] = {{a->descriptor(), POLLIN, 0}, {b.descriptor(), POLLIN, 0}};
    poll(entries, 2, 1000);
    auto count = a->receive_some(data);
    if (!count) return;
    for (size_t i = 0; i < *count; ++i) {
      if (passed + i >= from) data[i] ^= std::byte{1};
    }
    passed += *count;
    b.send_all(std::span(data).first(*count), deadline);
    count = b.receive_some(data);
    if (!count) return;
    a->send_all(std::span(data).first(*count), deadline);
  }
}

TEST_F(RendezvousTest, DamageOnTheWayEndsTheJob) {
  for (size_t from : {192, 196, 200, 210, 230, 250}) {
    LocalJob job;
    TcpListener listener({.host = "127.0.0.1", .port = 0});
    // An end that has found the damage closes: the wire may still be passing something on to it.
    std::thread wire(
        [&] { failure_of([&] { run_damaging_wire(listener, {"127.0.0.1", job.port()}, from); }); });
    std::string failure;
    std::thread thread([&] {
      RendezvousOptions options = job.join_options();
      options.address.port = listener.port();
      failure = failure_of([&] {
        Rendezvous rendezvous(options);
        rendezvous.exchange("");
      });
    });
    EXPECT_THAT(failure_of([&] {
                  Rendezvous rendezvous(job.host_options(2));
                  rendezvous.exchange("");
                }),
                HasSubstr("was damaged on its way"))
        << from;
    thread.join();
    wire.join();
    EXPECT_THAT(failure, HasSubstr("was damaged on its way"));
  }
}

// Rank 1 of 3 is a process that gets `signal`; ranks 0 and 2 are in this one.
void lose_a_process(RendezvousOptions host, const std::function<RendezvousOptions(int)>& join,
                    int signal, const char* expected) {
  // The child is made before this process has threads; it is told the port.
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    uint16_t port = 0;
    if (read(pipe_ends[0], &port, sizeof(port)) != sizeof(port)) _exit(1);
    RendezvousOptions options = host;
    options.rank = 1;
    options.address.port = port;
    Rendezvous rendezvous(options);
    rendezvous.exchange("ready");
    for (;;) pause();
  }
  host.silent_time = seconds(2);
  const auto told = host.on_listening;
  host.on_listening = [&](uint16_t port) {
    EXPECT_EQ(write(pipe_ends[1], &port, sizeof(port)), static_cast<ssize_t>(sizeof(port)));
    told(port);
  };
  std::string failure;
  std::thread thread([&] {
    Rendezvous rendezvous(join(2));
    failure = failure_of([&] {
      rendezvous.exchange("ready");
      rendezvous.exchange("", seconds(60));
    });
  });
  Rendezvous rendezvous(host);
  rendezvous.exchange("ready");
  kill(child, signal);
  EXPECT_THAT(failure_of([&] { rendezvous.exchange("", seconds(60)); }), HasSubstr(expected));
  thread.join();
  EXPECT_THAT(failure, AllOf(HasSubstr("rank 1 (host "), HasSubstr(expected)));
  kill(child, SIGKILL);
  EXPECT_EQ(waitpid(child, nullptr, 0), child);
  close(pipe_ends[0]);
  close(pipe_ends[1]);
}

TEST_F(RendezvousTest, AKilledProcessEndsTheJobOnEveryRank) {
  lose_a_process(host_options(3), [&](int r) { return join_options(r); }, SIGKILL, "has died");
}

TEST_F(RendezvousTest, AStoppedProcessEndsTheJobOnEveryRank) {
  lose_a_process(
      host_options(3), [&](int r) { return join_options(r); }, SIGSTOP,
      "has been silent for 2.0 s");
}

TEST_F(RendezvousTest, AKilledRank0EndsTheJob) {
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    RendezvousOptions options = host_options(2);
    options.on_listening = [&](uint16_t port) {
      if (write(pipe_ends[1], &port, sizeof(port)) != sizeof(port)) _exit(1);
    };
    Rendezvous rendezvous(options);
    rendezvous.exchange("ready");
    raise(SIGKILL);
  }
  uint16_t port = 0;
  ASSERT_EQ(read(pipe_ends[0], &port, sizeof(port)), static_cast<ssize_t>(sizeof(port)));
  RendezvousOptions options = host_options(2);
  options.rank = 1;
  options.address.port = port;
  Rendezvous rendezvous(options);
  EXPECT_THAT(failure_of([&] {
                rendezvous.exchange("ready");
                rendezvous.exchange("", seconds(60));
              }),
              AllOf(HasSubstr("rank 0 (host "), HasSubstr("has died")));
  EXPECT_EQ(waitpid(child, nullptr, 0), child);
  close(pipe_ends[0]);
  close(pipe_ends[1]);
}

}  // namespace
}  // namespace lanner
