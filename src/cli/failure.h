// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdexcept>
#include <string>

#include "cli/exit_codes.h"

namespace lanner::cli {

// Ends a command: printed as `lanner: error: <what>`, then `hint: <hint>` if there is one.
class Failure : public std::runtime_error {
 public:
  Failure(int status, const std::string& message, std::string hint = {})
      : std::runtime_error(message), status_(status), hint_(std::move(hint)) {}
  int status() const { return status_; }
  const std::string& hint() const { return hint_; }

 private:
  int status_;
  std::string hint_;
};

// A command line that makes no sense; exits with kExitUsage.
inline Failure usage_failure(const std::string& message, std::string hint = {}) {
  return Failure(kExitUsage, message, std::move(hint));
}

}  // namespace lanner::cli
