// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include <sys/mman.h>
#include <unistd.h>

#include "base/testing/fuzz_target.h"

namespace lanner::fuzz {

// An input as a file without a disk: a path that can be opened as long as the object lives.
class InputFile {
 public:
  explicit InputFile(std::string_view content) : fd_(::memfd_create("input", MFD_CLOEXEC)) {
    if (fd_ < 0) defect("memfd_create");
    if (::write(fd_, content.data(), content.size()) != static_cast<ssize_t>(content.size()))
      defect("write");
    path_ = "/proc/self/fd/" + std::to_string(fd_);
  }
  ~InputFile() { ::close(fd_); }
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  const std::string& path() const { return path_; }

 private:
  int fd_;
  std::string path_;
};

}  // namespace lanner::fuzz
