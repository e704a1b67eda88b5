// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "distributed/lobby.h"

namespace lanner {

// The ranks of one job, of one or several hosts, in touch with each other over TCP from their
// meeting to their end. It carries what is said before there is a Communicator (which model, what
// address) and watches over the ranks: a thread of its own sends signs of life and listens to
// those of the others, so that a rank that dies or stops is known to all within silent_time. Rank 0
// is in the middle. Every message has a number and an HMAC. All methods may be called from any
// thread, exchange and agree on all ranks in the same order.
//
// Once a rank has failed every method throws Error(kIo) with the same sentence on every rank.
class Rendezvous {
 public:
  // Meets the others; throws as wait_for_ranks and join_ranks.
  explicit Rendezvous(const RendezvousOptions& options);
  // Tells the others that this rank leaves as it should.
  ~Rendezvous();
  Rendezvous(const Rendezvous&) = delete;
  Rendezvous& operator=(const Rendezvous&) = delete;

  int rank() const;
  int size() const;
  // The hosts of the ranks, by rank.
  const std::vector<HostName>& hosts() const;
  bool is_one_host() const;
  int ranks_on_host(int rank) const;  // on that of a rank, itself included
  // The network interface that leads to the ranks of other hosts (to all where there is one host).
  const std::string& interface() const;

  // What every rank says, by rank. Throws when a rank does not come within the time.
  std::vector<std::string> exchange(const std::string& mine,
                                    std::chrono::milliseconds timeout = std::chrono::minutes(5));
  // Throws, on every rank, if `value` is not the same everywhere: "[distributed] the dtype is int8
  // on rank 0 (host a), bf16 on rank 1 (host b)".
  void agree(const std::string& name, const std::string& value);

  // Lets all ranks look a value up from now on, in the place of one that the key had; what cannot
  // be sent any more is missed where it is looked up. Values that a rank publishes after it has
  // seen another's become known after that one everywhere.
  void publish(const std::string& key, const std::string& value) noexcept;
  // What was published last under the key; nothing if none was within the time.
  std::optional<std::string> look_up(const std::string& key, std::chrono::milliseconds timeout);

  // Whether a rank has failed, or has left: cheap, for loops that wait.
  bool has_failed() const;
  bool has_left() const;  // one of the others
  void throw_if_failed() const;
  // For whoever has met a broken connection: throws why the job ends if that becomes known within a
  // moment, else returns.
  void wait_for_failure();

  // Ends the job on all ranks: they get "rank N (host H) has failed: reason".
  void fail(const std::string& reason) noexcept;

  // Rank 0 wakes ranks that wait long for work; they wait here until it does (or has done since
  // they were here last), something fails or the time is over.
  void wake() noexcept;
  void wait_for_wake(std::chrono::milliseconds timeout);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lanner
