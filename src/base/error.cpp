// SPDX-License-Identifier: Apache-2.0
#include "base/error.h"

namespace lanner {

const char* error_code_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return "invalid_argument";
    case ErrorCode::kNotFound:
      return "not_found";
    case ErrorCode::kUnsupported:
      return "unsupported";
    case ErrorCode::kCorruptFile:
      return "corrupt_file";
    case ErrorCode::kResourceExhausted:
      return "resource_exhausted";
    case ErrorCode::kIo:
      return "io";
    case ErrorCode::kCancelled:
      return "cancelled";
    case ErrorCode::kInternal:
      return "internal";
  }
  return "unknown";
}

namespace detail {

void check_failed(const char* condition, const char* file, int line) {
  throw_error(ErrorCode::kInternal, "internal check failed: {} ({}:{})", condition, file, line);
}

}  // namespace detail
}  // namespace lanner
