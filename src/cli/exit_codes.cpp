// SPDX-License-Identifier: Apache-2.0
#include "cli/exit_codes.h"

#include <array>
#include <string_view>

namespace lanner::cli {
namespace {

// Rows 3 to 10 carry the names of the error codes (error_code_name), which is how they are found.
constexpr std::array kExitCodes = {
    ExitCode{kExitOk, "ok", "success"},
    ExitCode{kExitFailure, "failure", "an answer broke off, or anything not listed below"},
    ExitCode{kExitUsage, "usage", "wrong command line"},
    ExitCode{3, "invalid_argument", "the engine refused a value, e.g. a prompt that is too long"},
    ExitCode{4, "not_found", "no such file or model"},
    ExitCode{5, "unsupported", "understood, but Lanner cannot do it"},
    ExitCode{6, "corrupt_file", "a file breaks the rules of its format"},
    ExitCode{7, "resource_exhausted", "not enough memory"},
    ExitCode{8, "io", "reading or writing failed"},
    ExitCode{9, "cancelled", "stopped on request"},
    ExitCode{10, "internal", "a defect of Lanner: please report it"},
    ExitCode{kExitInterrupted, "interrupted", "Ctrl-C"},
};

}  // namespace

std::span<const ExitCode> exit_codes() { return kExitCodes; }

int exit_code(ErrorCode code) {
  const std::string_view name = error_code_name(code);
  for (const ExitCode& row : kExitCodes) {
    if (name == row.name) return row.status;
  }
  return kExitFailure;
}

}  // namespace lanner::cli
