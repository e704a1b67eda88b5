// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/tool_calls/json_scanner.h"

namespace lanner {

// Reads one call written as a JSON object, {"name": "f", "arguments": {…}}, in any order of keys,
// as the text comes in. "parameters" means "arguments"; an "id" before them is kept; other keys are
// skipped.
class CallObject {
 public:
  CallObject() = default;
  // Another name than these means that the object is no call. Must outlive this object.
  explicit CallObject(const std::vector<std::string>& names) : names_(&names) {}

  // Takes the bytes up to the end of the object, or up to where it turns out to be none; returns
  // how many. The first one is the opening brace.
  size_t push(std::string_view text);

  bool done() const { return state_ == State::kDone; }
  // Not an object of this form. Never after is_call().
  bool broken() const { return state_ == State::kBroken; }
  // There is a name, and arguments have begun: from here on it is a call, whatever follows.
  bool is_call() const { return has_name_ && has_arguments_; }
  const std::string& name() const { return name_; }
  const std::string& id() const { return id_; }
  // The arguments that have come since the last time; nothing before is_call().
  std::string take_arguments();
  // All that was taken; after is_call() nothing.
  const std::string& text() const { return text_; }

 private:
  enum class State { kOpen, kKey, kColon, kBeforeValue, kValue, kAfterValue, kDone, kBroken };

  bool take(char c);  // a byte outside of keys and values
  void begin_value(char first);
  void end_value();

  const std::vector<std::string>* names_ = nullptr;  // null: any
  State state_ = State::kOpen;
  bool is_key_ = false;  // value_ is a key
  JsonScanner scanner_;
  std::string key_;
  std::string value_;     // of a key, a name, an id, or arguments in a string
  bool streams_ = false;  // the value goes to arguments_ as it comes
  bool has_name_ = false;
  bool has_arguments_ = false;
  std::string name_;
  std::string id_;
  std::string arguments_;
  std::string text_;
};

}  // namespace lanner
