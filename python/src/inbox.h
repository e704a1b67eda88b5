// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include <sys/eventfd.h>
#include <unistd.h>

#include "lanner/chat.h"
#include "lanner/embedding.h"
#include "lanner/request.h"

namespace lanner::python {

// Adds later news of a sequence to earlier ones.
void merge(RequestOutput& earlier, RequestOutput&& later);
void merge(ChatOutput& earlier, ChatOutput&& later);
void merge(EmbeddingOutput& earlier, EmbeddingOutput&& later);

// Which of its request's answers an output belongs to, and whether the request ends with it.
inline int index_of(const RequestOutput& output) { return output.index; }
inline int index_of(const ChatOutput& output) { return output.step.index; }
inline int index_of(const EmbeddingOutput& /*output*/) { return 0; }
inline bool is_last(const RequestOutput& output) { return output.is_last; }
inline bool is_last(const ChatOutput& output) { return output.step.is_last; }
inline bool is_last(const EmbeddingOutput& /*output*/) { return true; }

// News of several requests on their way from the engine's thread to one reader. News that nobody
// has taken yet are merged, so a slow reader costs no memory and finds a whole answer at the end.
// The engine's thread calls push(), and never waits for Python; everything may be called from any
// thread.
template <typename Output>
class Inbox {
 public:
  struct News {
    size_t request = 0;
    Output output;
  };

  // answers[i]: the number of answers of request i.
  explicit Inbox(const std::vector<int>& answers) : left_(answers.size()) {
    size_t slots = 0;
    for (const int count : answers) {
      first_slot_.push_back(slots);
      slots += static_cast<size_t>(count);
    }
    news_.resize(slots);
  }
  ~Inbox() {
    if (fd_ >= 0) ::close(fd_);
  }
  Inbox(const Inbox&) = delete;
  Inbox& operator=(const Inbox&) = delete;

  void push(size_t request, Output output) {
    const std::lock_guard lock(mutex_);
    const bool ends = is_last(output);
    const size_t slot = first_slot_[request] + static_cast<size_t>(index_of(output));
    if (news_[slot]) {
      merge(news_[slot]->output, std::move(output));
    } else {
      news_[slot] = News{request, std::move(output)};
      waiting_.push_back(slot);
    }
    if (ends) --left_;
    if (!only_whole_ || left_ == 0) notify();
  }

  // Waits for news, or with `whole` for the last ones; false: there are none yet.
  bool wait_for(std::chrono::milliseconds time, bool whole) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, time,
                             [&] { return left_ == 0 || (!whole && !waiting_.empty()); });
  }

  // What there is, in the order in which it came.
  std::vector<News> take() {
    const std::lock_guard lock(mutex_);
    if (fd_ >= 0) {
      eventfd_t count = 0;
      ::eventfd_read(fd_, &count);
    }
    std::vector<News> taken;
    for (const size_t slot : waiting_) {
      taken.push_back(std::move(*news_[slot]));
      news_[slot].reset();
    }
    waiting_.clear();
    return taken;
  }

  // No more news will come than those that take() has now.
  bool ended() const {
    const std::lock_guard lock(mutex_);
    return left_ == 0;
  }

  // A file descriptor that is readable when wait_for(…, whole) would return, for event loops. -1:
  // the system has none left. Owned by the inbox.
  int descriptor(bool whole) {
    const std::lock_guard lock(mutex_);
    only_whole_ = whole;
    if (fd_ < 0) fd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (left_ == 0 || (!whole && !waiting_.empty())) notify();
    return fd_;
  }

 private:
  void notify() {
    changed_.notify_all();
    if (fd_ >= 0) ::eventfd_write(fd_, 1);
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<size_t> first_slot_;         // per request
  std::vector<std::optional<News>> news_;  // per answer
  std::vector<size_t> waiting_;            // slots with news, in their order
  size_t left_;                            // requests that have not ended
  bool only_whole_ = false;
  int fd_ = -1;
};

}  // namespace lanner::python
