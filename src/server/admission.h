// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <string>

#include "server/limits.h"

namespace lanner::server {

// Who may hand a request to a model now, and who waits: first come, first served, within the limits
// on the queue and on each client. So a full queue and a wait that takes too long can be answered
// with a status of their own, before anything else was. All methods may be called from any thread.
class Admission {
 public:
  using Ticket = uint64_t;
  Admission(int slots, const Limits& limits) : slots_(slots), limits_(limits) {}

  // Takes `slots` (sequences) for a client. `granted` is called once they are free, at once or
  // later from the thread of a leave(). Throws HttpError: 429 for the client's limit, 503 for the
  // queue's.
  Ticket enter(int slots, const std::string& client, std::function<void()> granted);
  // Gives the place up, in the queue or beyond it. Unknown tickets are ignored.
  void leave(Ticket ticket);
  // Leaves the queue; false if it has been granted.
  bool leave_queue(Ticket ticket);
  int slots() const { return slots_; }
  int running() const;  // slots taken
  int waiting() const;  // requests in the queue

 private:
  struct Entry {
    Ticket ticket;
    int slots;
    std::string client;
    std::function<void()> granted;
  };
  void forget_client(const std::string& client);
  std::list<Entry> take_granted();

  const int slots_;
  const Limits& limits_;
  mutable std::mutex mutex_;
  std::list<Entry> queue_;
  std::map<Ticket, Entry> running_;
  std::map<std::string, int64_t> clients_;
  int used_ = 0;
  Ticket next_ = 1;
};

}  // namespace lanner::server
