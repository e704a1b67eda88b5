// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdexcept>
#include <string>

namespace lanner {

// What went wrong, as far as a caller can act on it. The fronts map each code to an exit status, an
// HTTP status and a Python exception, each in one table.
enum class ErrorCode {
  kInvalidArgument,    // the caller's value is wrong: a shape, a parameter, a message
  kNotFound,           // no such file, tensor or model
  kUnsupported,        // understood, but Lanner cannot do it (a dtype, a rope scaling, a family)
  kCorruptFile,        // a file breaks the rules of its own format
  kResourceExhausted,  // memory, KV blocks, queue
  kIo,                 // the system refused: permissions, disk full
  kCancelled,          // stopped on request
  kInternal,           // a defect of Lanner
};

// The field's name of a code: "invalid_argument", "not_found", …
const char* error_code_name(ErrorCode code);

// Every failure of loading, configuration and misuse. what() is a sentence that names the thing,
// e.g. "[rms_norm] weight has 4095 elements, expected 4096".
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace lanner
