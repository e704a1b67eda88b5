// SPDX-License-Identifier: Apache-2.0
#include "server/admission.h"

#include <algorithm>

#include <fmt/format.h>

#include "server/status.h"

namespace lanner::server {

Admission::Ticket Admission::enter(int slots, const std::string& client,
                                   std::function<void()> granted) {
  std::list<Entry> now;
  Ticket ticket = 0;
  {
    const std::lock_guard lock(mutex_);
    if (clients_[client] >= limits_.requests_per_key) {
      throw HttpError::limit(
          429, "requests_per_key",
          fmt::format("{} requests of this client are under way, at most {} may be",
                      clients_[client], limits_.requests_per_key));
    }
    const bool must_wait = !queue_.empty() || used_ + slots > slots_;
    if (must_wait && static_cast<int64_t>(queue_.size()) >= limits_.queue_length) {
      forget_client(client);
      throw HttpError::limit(503, "queue_length",
                             fmt::format("{} requests wait for this model already", queue_.size()));
    }
    ++clients_[client];
    ticket = next_++;
    queue_.push_back({ticket, slots, client, std::move(granted)});
    now = take_granted();
  }
  for (Entry& entry : now) entry.granted();
  return ticket;
}

// Under the lock: moves whoever fits from the queue to the running ones.
std::list<Admission::Entry> Admission::take_granted() {
  std::list<Entry> granted;
  while (!queue_.empty() && used_ + queue_.front().slots <= slots_) {
    Entry& entry = queue_.front();
    used_ += entry.slots;
    granted.push_back({entry.ticket, entry.slots, entry.client, std::move(entry.granted)});
    running_[entry.ticket] = {entry.ticket, entry.slots, entry.client, nullptr};
    queue_.pop_front();
  }
  return granted;
}

void Admission::forget_client(const std::string& client) {
  const auto found = clients_.find(client);
  if (found != clients_.end() && found->second <= 0) clients_.erase(found);
}

bool Admission::leave_queue(Ticket ticket) {
  std::list<Entry> now;
  {
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(queue_.begin(), queue_.end(),
                                    [&](const Entry& entry) { return entry.ticket == ticket; });
    if (found == queue_.end()) return false;
    --clients_[found->client];
    forget_client(found->client);
    queue_.erase(found);
    now = take_granted();  // it may have been the one too large for the free slots
  }
  for (Entry& entry : now) entry.granted();
  return true;
}

void Admission::leave(Ticket ticket) {
  if (leave_queue(ticket)) return;
  std::list<Entry> now;
  {
    const std::lock_guard lock(mutex_);
    const auto found = running_.find(ticket);
    if (found == running_.end()) return;
    used_ -= found->second.slots;
    --clients_[found->second.client];
    forget_client(found->second.client);
    running_.erase(found);
    now = take_granted();
  }
  for (Entry& entry : now) entry.granted();
}

int Admission::running() const {
  const std::lock_guard lock(mutex_);
  return used_;
}

int Admission::waiting() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int>(queue_.size());
}

}  // namespace lanner::server
