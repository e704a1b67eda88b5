// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace lanner::cli {

class InterruptGuard;

enum class ReadResult { kLine, kEnd, kInterrupted };

// Reads lines from a file descriptor that is no terminal (or without line editing). Waits for input
// and Ctrl-C at once.
class Input {
 public:
  // interrupts may be null: then Ctrl-C does whatever it does without.
  Input(int fd, InterruptGuard* interrupts) : fd_(fd), interrupts_(interrupts) {}

  // One line without its end ("\n" or "\r\n"); a last line without one counts. kInterrupted leaves
  // what was already typed to the terminal. Throws Error(kIo), or Error(kResourceExhausted) for a
  // line above 64 MiB.
  ReadResult read_line(std::string& line);
  // Everything up to the end. The same errors; kLine when read.
  ReadResult read_all(std::string& text);

 private:
  // Appends what there is to buffer_.
  ReadResult fill();

  int fd_;
  InterruptGuard* interrupts_;
  std::string buffer_;
};

}  // namespace lanner::cli
