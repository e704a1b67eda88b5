// SPDX-License-Identifier: Apache-2.0
#include "cli/input.h"

#include <array>
#include <cerrno>
#include <cstring>

#include <poll.h>
#include <unistd.h>

#include "base/error.h"
#include "cli/interrupt.h"

namespace lanner::cli {
namespace {

constexpr size_t kMaxInputBytes = size_t{64} << 20;

}  // namespace

ReadResult Input::fill() {
  while (true) {
    std::array<pollfd, 2> waits = {pollfd{fd_, POLLIN, 0},
                                   pollfd{interrupts_ ? interrupts_->fd() : -1, POLLIN, 0}};
    if (::poll(waits.data(), waits.size(), -1) < 0) {
      if (errno == EINTR) continue;
      throw_error(ErrorCode::kIo, "standard input: {}", std::strerror(errno));
    }
    if (interrupts_ && interrupts_->take()) return ReadResult::kInterrupted;
    if (waits[0].revents == 0) continue;
    std::array<char, 4096> chunk;
    const ssize_t bytes = ::read(fd_, chunk.data(), chunk.size());
    if (bytes < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (bytes < 0) throw_error(ErrorCode::kIo, "standard input: {}", std::strerror(errno));
    if (bytes == 0) return ReadResult::kEnd;
    if (buffer_.size() + static_cast<size_t>(bytes) > kMaxInputBytes) {
      throw_error(ErrorCode::kResourceExhausted, "standard input: more than {} bytes",
                  kMaxInputBytes);
    }
    buffer_.append(chunk.data(), static_cast<size_t>(bytes));
    return ReadResult::kLine;
  }
}

ReadResult Input::read_line(std::string& line) {
  size_t searched = 0;
  while (true) {
    const size_t end = buffer_.find('\n', searched);
    if (end != std::string::npos) {
      line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      if (!line.empty() && line.back() == '\r') line.pop_back();
      return ReadResult::kLine;
    }
    searched = buffer_.size();
    const ReadResult result = fill();
    if (result == ReadResult::kLine) continue;
    if (result == ReadResult::kInterrupted || buffer_.empty()) return result;
    line = std::move(buffer_);
    buffer_.clear();
    return ReadResult::kLine;
  }
}

ReadResult Input::read_all(std::string& text) {
  while (true) {
    const ReadResult result = fill();
    if (result == ReadResult::kLine) continue;
    if (result == ReadResult::kInterrupted) return result;
    text = std::move(buffer_);
    buffer_.clear();
    return ReadResult::kLine;
  }
}

}  // namespace lanner::cli
