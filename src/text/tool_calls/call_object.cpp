// SPDX-License-Identifier: Apache-2.0
#include "text/tool_calls/call_object.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/json.h"

namespace lanner {
namespace {

// The text that a JSON string stands for.
std::optional<std::string> unquoted(const std::string& json) {
  const Json value = Json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!value.is_string()) return std::nullopt;
  return value.get<std::string>();
}

}  // namespace

size_t CallObject::push(std::string_view text) {
  size_t taken = 0;
  while (taken < text.size() && !done() && !broken()) {
    if (state_ != State::kValue) {
      if (!take(text[taken])) break;
      ++taken;
      continue;
    }
    const size_t count = scanner_.push(text.substr(taken));
    (streams_ ? arguments_ : value_) += text.substr(taken, count);
    taken += count;
    if (scanner_.done()) end_value();
  }
  if (is_call()) {
    text_.clear();
  } else {
    text_ += text.substr(0, taken);
  }
  return taken;
}

// False: the byte is the first of a value, or no part of the object.
bool CallObject::take(char c) {
  if (state_ != State::kOpen && is_json_blank(c)) return true;
  switch (state_) {
    case State::kOpen:
      state_ = c == '{' ? State::kKey : State::kBroken;
      break;
    case State::kKey:
      if (c == '"') {
        begin_value(c);
        is_key_ = true;
      } else {
        state_ = c == '}' && has_name_ ? State::kDone : State::kBroken;
      }
      break;
    case State::kColon:
      state_ = c == ':' ? State::kBeforeValue : State::kBroken;
      break;
    case State::kBeforeValue:
      begin_value(c);
      break;
    case State::kAfterValue:
      if (c == ',') {
        state_ = State::kKey;
      } else {
        state_ = c == '}' ? State::kDone : State::kBroken;
      }
      break;
    case State::kValue:
    case State::kDone:
    case State::kBroken:
      break;
  }
  if (done() && has_name_ && !has_arguments_ && names_ == nullptr) {
    has_arguments_ = true;
    arguments_ = "{}";
  }
  // What has been a call stays one.
  if (done() || broken()) state_ = is_call() ? State::kDone : State::kBroken;
  return !broken();
}

void CallObject::begin_value(char first) {
  state_ = State::kValue;
  is_key_ = false;
  scanner_ = JsonScanner();
  scanner_.push({&first, 1});
  const bool is_arguments = key_ == "arguments" || key_ == "parameters";
  streams_ = is_arguments && first == '{';
  has_arguments_ = has_arguments_ || streams_;
  value_.clear();
  (streams_ ? arguments_ : value_) += first;
}

void CallObject::end_value() {
  state_ = is_key_ ? State::kColon : State::kAfterValue;
  const std::string value = std::exchange(value_, {});
  if (streams_) {
    streams_ = false;
    key_.clear();
    return;
  }
  if (is_key_) {
    const std::optional<std::string> key = unquoted(value);
    if (!key) state_ = is_call() ? State::kDone : State::kBroken;
    key_ = key.value_or("");
    return;
  }
  const std::string key = std::exchange(key_, {});
  bool good = true;
  if (key == "arguments" || key == "parameters") {
    // Some models put the object into a string; some write null for none.
    const std::optional<std::string> text = value == "null" ? "{}" : unquoted(value);
    good = text.has_value();
    has_arguments_ = has_arguments_ || good;
    arguments_ += text.value_or("");
  } else if (key == "name" && !has_name_) {
    name_ = unquoted(value).value_or("");
    has_name_ =
        !name_.empty() && (names_ == nullptr || std::ranges::find(*names_, name_) != names_->end());
    good = has_name_;
  } else if (key == "id" && !has_arguments_) {
    // Later the call has been announced under another id.
    id_ = unquoted(value).value_or("");
  }
  if (!good) state_ = is_call() ? State::kDone : State::kBroken;
}

std::string CallObject::take_arguments() {
  if (!is_call()) return "";
  return std::exchange(arguments_, {});
}

}  // namespace lanner
