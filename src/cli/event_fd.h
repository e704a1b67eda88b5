// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace lanner::cli {

// A flag that poll() can wait for. notify() may be called from any thread and from signal handlers.
class EventFd {
 public:
  EventFd();
  ~EventFd();
  EventFd(const EventFd&) = delete;
  EventFd& operator=(const EventFd&) = delete;

  int fd() const { return fd_; }
  void notify() const noexcept;
  // True if there was a notification since the last call; takes it away.
  bool take() const noexcept;

 private:
  int fd_;
};

}  // namespace lanner::cli
