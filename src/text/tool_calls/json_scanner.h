// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string_view>

namespace lanner {

inline bool is_json_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

// Finds the end of one JSON value in a text that comes in pieces, by its quotes and brackets alone:
// what stands between them is the reader's to judge. Constant work per byte.
class JsonScanner {
 public:
  // Takes the bytes up to the end of the value; returns how many. The first one is the first of
  // the value, no blank.
  size_t push(std::string_view text);
  // The value has ended. A number or a word ends before the byte that follows it.
  bool done() const { return done_; }

 private:
  // True: the byte belongs to the value.
  bool take(char c);

  bool started_ = false;
  bool is_word_ = false;  // a number, true, false, null
  bool in_string_ = false;
  bool escaped_ = false;
  size_t depth_ = 0;
  bool done_ = false;
};

}  // namespace lanner
