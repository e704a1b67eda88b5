// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

namespace lanner::cli {

// Catches Ctrl-C (SIGINT) while it lives; one at a time, made by the command that knows what to
// stop. A second Ctrl-C that finds the first one not yet taken ends the program as if nothing
// caught it: whatever hangs while it is being stopped, two of them always help.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  // Becomes readable with a Ctrl-C.
  int fd() const;
  // True once per Ctrl-C, after which the next one is caught again.
  bool take();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lanner::cli
