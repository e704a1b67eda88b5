// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "cli/context.h"
#include "cli/input.h"

namespace lanner::cli {

// Asks for a line. On a terminal with line editing and history (of this session only: what was
// typed is nobody else's business) where libedit was there at build time.
class LineReader {
 public:
  virtual ~LineReader() = default;
  // kInterrupted: `line` holds what was typed so far, where that is known.
  virtual ReadResult read(std::string& line) = 0;
};

// `prompt` is shown on a terminal only. The guard must outlive the reader.
std::unique_ptr<LineReader> make_line_reader(Context& context, InterruptGuard& interrupts,
                                             const std::string& prompt);

}  // namespace lanner::cli
