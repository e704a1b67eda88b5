// SPDX-License-Identifier: Apache-2.0
#include "text/tool_calls/json_scanner.h"

namespace lanner {

size_t JsonScanner::push(std::string_view text) {
  size_t taken = 0;
  while (taken < text.size() && !done_ && take(text[taken])) ++taken;
  return taken;
}

bool JsonScanner::take(char c) {
  const bool first = !started_;
  started_ = true;
  if (in_string_) {
    if (escaped_) {
      escaped_ = false;
    } else if (c == '\\') {
      escaped_ = true;
    } else if (c == '"') {
      in_string_ = false;
      done_ = depth_ == 0;
    }
    return true;
  }
  if (c == '"' && !is_word_) {
    in_string_ = true;
    return true;
  }
  if (!is_word_ && (c == '{' || c == '[')) {
    ++depth_;
    return true;
  }
  if (depth_ > 0) {
    if (c == '}' || c == ']') done_ = --depth_ == 0;
    return true;
  }
  if (first) {
    is_word_ = true;
    return true;
  }
  done_ = is_json_blank(c) || c == ',' || c == '}' || c == ']' || c == '{' || c == '[' ||
          c == '"' || c == ':';
  return !done_;
}

}  // namespace lanner
