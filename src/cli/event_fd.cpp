// SPDX-License-Identifier: Apache-2.0
#include "cli/event_fd.h"

#include <cerrno>
#include <cstdint>
#include <cstring>

#include <sys/eventfd.h>
#include <unistd.h>

#include "base/error.h"

namespace lanner::cli {

EventFd::EventFd() : fd_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  if (fd_ < 0) throw_error(ErrorCode::kIo, "eventfd: {}", std::strerror(errno));
}

EventFd::~EventFd() { ::close(fd_); }

void EventFd::notify() const noexcept {
  const int before = errno;  // a signal handler must not change it
  const uint64_t one = 1;
  // Fails only when the counter is full, and then the flag is up anyway.
  [[maybe_unused]] const auto written = ::write(fd_, &one, sizeof one);
  errno = before;
}

bool EventFd::take() const noexcept {
  uint64_t count = 0;
  return ::read(fd_, &count, sizeof count) == sizeof count;
}

}  // namespace lanner::cli
