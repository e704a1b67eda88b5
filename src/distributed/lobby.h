// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "distributed/job_secret.h"
#include "distributed/tcp_socket.h"

namespace lanner {

struct RendezvousOptions {
  HostPort address;     // where rank 0 listens
  std::string secret;   // that all ranks of the job know; at least 16 characters
  int rank = -1;        // 0 listens, the others connect; -1: whichever is free
  int size = 0;         // ranks of the job; 0 (not for rank 0): as rank 0 says
  std::string version;  // of Lanner: that of all ranks must be the same
  // Until all ranks have come.
  std::chrono::milliseconds timeout = std::chrono::minutes(5);
  // A rank that says nothing for so long is given up; rank 0's value counts.
  std::chrono::milliseconds silent_time = std::chrono::seconds(15);
  // Rank 0 is told the port it listens on, before anybody comes.
  std::function<void(uint16_t port)> on_listening = {};
  // Rank 0 calls it several times a second until all ranks have come; what it throws ends the job.
  std::function<void()> on_wait = {};
  // Called once, from any thread, when the ranks have lost each other; it must not wait.
  std::function<void(const std::string& sentence)> on_failure = {};
};

// A rank's authenticated connection to rank 0, or rank 0's to another rank.
struct Link {
  TcpSocket socket;
  JobSecret key;  // of this connection alone
  int rank;       // of the other side
};

struct Job {
  int rank;
  int size;
  std::chrono::milliseconds silent_time;
  std::vector<Link> links;  // rank 0: to ranks 1, 2, …; else one, to rank 0
};

// How the ranks of a job find each other: rank 0 listens, the others connect; both sides prove by
// an HMAC over fresh random numbers that they know the secret, which itself never travels. Who does
// not, or sends anything else, or nothing, is turned away without anybody waiting for it. Ranks are
// numbered as they wish, those without a wish by host. Throws Error: kIo with the ranks that are
// missing after the timeout, with what is different about a rank of another version or size (on
// every rank that has come), with rank 0's reason for turning this one away; kInvalidArgument for
// options that make no sense.
Job wait_for_ranks(const RendezvousOptions& options);  // rank 0
Job join_ranks(const RendezvousOptions& options);      // the others

// This machine as ranks compare it: its name, and what changes at every boot.
struct HostName {
  std::string name;
  std::string boot;
  bool operator==(const HostName&) const = default;
};
HostName this_host();

}  // namespace lanner
