// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "distributed/rendezvous.h"

namespace lanner::testing {

// What `task` throws, or an empty string.
inline std::string failure_of(const std::function<void()>& task) {
  try {
    task();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

// Runs a job of `size` processes of this machine that have met; each one's expectations count.
// Returns how each has ended, as waitpid tells. The calling process must have no other threads.
inline std::vector<int> run_rank_processes(
    int size, const std::function<void(std::shared_ptr<Rendezvous>)>& task) {
  int pipe_ends[2];
  EXPECT_EQ(pipe(pipe_ends), 0);
  std::vector<pid_t> children;
  for (int r = 0; r < size; ++r) {
    const pid_t child = fork();
    EXPECT_GE(child, 0);
    if (child != 0) {
      children.push_back(child);
      continue;
    }
    set_log_level(LogLevel::kOff);
    RendezvousOptions options;
    options.address.host = "127.0.0.1";
    options.secret = "the secret of a test";
    options.rank = r;
    options.size = size;
    options.version = "test";
    options.timeout = std::chrono::seconds(120);
    options.silent_time = std::chrono::seconds(5);
    options.on_listening = [&](uint16_t port) {
      for (int other = 1; other < size; ++other) {
        EXPECT_EQ(write(pipe_ends[1], &port, sizeof(port)), ssize_t{sizeof(port)});
      }
    };
    const std::string failure = failure_of([&] {
      if (r != 0) {
        EXPECT_EQ(read(pipe_ends[0], &options.address.port, sizeof(uint16_t)),
                  ssize_t{sizeof(uint16_t)});
      }
      task(std::make_shared<Rendezvous>(options));
    });
    EXPECT_EQ(failure, "") << "rank " << r;
    // Without the test program's own ending.
    fflush(nullptr);
    _exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  close(pipe_ends[0]);
  close(pipe_ends[1]);
  std::vector<int> statuses;
  for (const pid_t child : children) {
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    statuses.push_back(status);
  }
  return statuses;
}

}  // namespace lanner::testing
