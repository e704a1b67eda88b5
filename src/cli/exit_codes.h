// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "lanner/error.h"

namespace lanner::cli {

inline constexpr int kExitOk = 0;
// Something failed that has no code of its own: an answer broke off, an unexpected exception.
inline constexpr int kExitFailure = 1;
// The command line itself is wrong: an unknown option, a value out of its range.
inline constexpr int kExitUsage = 2;
// Ctrl-C (128 + SIGINT, as shells count).
inline constexpr int kExitInterrupted = 130;

struct ExitCode {
  int status;
  const char* name;
  const char* meaning;  // as `lanner --help` prints it
};

// Every exit status of the program, in order: the one table of them.
std::span<const ExitCode> exit_codes();

// The status of an Error: never 0, different for every code.
int exit_code(ErrorCode code);

}  // namespace lanner::cli
