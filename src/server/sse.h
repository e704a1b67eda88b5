// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "lanner/request.h"

namespace lanner::server {

// One event of a text/event-stream. `json` is on one line.
inline std::string sse_data(const std::string& json) { return "data: " + json + "\n\n"; }
inline std::string sse_event(const std::string& name, const std::string& json) {
  return "event: " + name + "\ndata: " + json + "\n\n";
}
inline constexpr const char* kSseDone = "data: [DONE]\n\n";

// JSON on one line; bytes that are no UTF-8 become U+FFFD.
inline std::string json_text(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// As the API names it.
inline const char* finish_reason_text(FinishReason reason) {
  switch (reason) {
    case FinishReason::kNone:
      return "";
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kToolCalls:
      return "tool_calls";
    case FinishReason::kAborted:
      return "aborted";
    case FinishReason::kError:
      return "error";
  }
  return "";
}

}  // namespace lanner::server
