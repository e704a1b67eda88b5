// SPDX-License-Identifier: Apache-2.0
// Formats that write a call as one JSON object: Hermes (also Qwen), Llama 3, Mistral up to v7.
#include <algorithm>
#include <string>
#include <utility>

#include "text/tool_calls/call_object.h"
#include "text/tool_calls/parsers.h"

namespace lanner {
namespace {

struct JsonStyle {
  std::string_view open;     // before a call, or a list of calls
  std::string_view close;    // after a call; "" for none
  bool is_list = false;      // calls stand in a JSON list
  bool may_be_bare = false;  // an answer that is a call from its first character needs no mark
  char separator = 0;        // between calls under one mark
};

class JsonCallParser final : public ToolCallParser {
 public:
  JsonCallParser(const JsonStyle& style, std::vector<std::string> names)
      : style_(style), names_(std::move(names)) {}

 private:
  enum class State { kContent, kListStart, kBeforeCall, kCall, kAfterCall };

  bool step(ChatDelta& news) override {
    switch (state_) {
      case State::kContent:
        return content(news);
      case State::kListStart:
        return list_start(news);
      case State::kBeforeCall:
        return before_call(news);
      case State::kCall:
        return call(news);
      case State::kAfterCall:
        return after_call();
    }
    return false;
  }

  bool content(ChatDelta& news) {
    if (style_.may_be_bare && at_start()) {
      const size_t first = rest().find_first_not_of(" \t\n\r");
      if (first == std::string_view::npos) return false;
      if (rest()[first] == '{') {
        held_ = rest().substr(0, first);
        skip(first);
        return begin_object(/*is_bare=*/true);
      }
    }
    if (!content_up_to(style_.open, news)) return false;
    held_ = style_.open;
    state_ = style_.is_list ? State::kListStart : State::kBeforeCall;
    return true;
  }

  // Blanks are held with the mark: they come back with it.
  bool hold_blanks() {
    const size_t blanks = std::min(rest().find_first_not_of(" \t\n\r"), rest().size());
    held_ += rest().substr(0, blanks);
    skip(blanks);
    return !rest().empty();
  }

  bool list_start(ChatDelta& news) {
    if (!hold_blanks()) return give_back_at_end(news);
    if (rest().front() != '[') return give_back(news);
    held_ += '[';
    skip(1);
    state_ = State::kBeforeCall;
    return true;
  }

  bool before_call(ChatDelta& news) {
    if (!hold_blanks()) return give_back_at_end(news);
    if (rest().front() == '{') return begin_object(/*is_bare=*/false);
    return give_back(news);
  }

  bool begin_object(bool is_bare) {
    // Without a mark it takes the name of a tool to tell a call from an answer in JSON.
    object_ = is_bare ? CallObject(names_) : CallObject();
    announced_ = false;
    state_ = State::kCall;
    return true;
  }

  bool call(ChatDelta& news) {
    skip(object_.push(rest()));
    if (object_.is_call()) {
      if (!announced_) begin_call(object_.name(), object_.id(), news);
      announced_ = true;
      add_arguments(object_.take_arguments(), news);
    }
    if (object_.broken() || (ended() && !announced_)) {
      held_ += object_.text();
      return give_back(news);
    }
    if (!object_.done()) return false;
    state_ = State::kAfterCall;
    return true;
  }

  bool after_call() {
    skip_blanks();
    if (rest().empty()) return false;
    if (style_.separator != 0 && rest().front() == style_.separator) {
      skip(1);
      held_.clear();
      state_ = State::kBeforeCall;
      return true;
    }
    if (style_.is_list && rest().front() == ']') skip(1);
    if (!style_.close.empty()) {
      if (may_become(style_.close)) return false;
      skip_mark(style_.close);  // some models forget it
    }
    state_ = State::kContent;
    return true;
  }

  bool give_back_at_end(ChatDelta& news) { return ended() && give_back(news); }

  bool give_back(ChatDelta& news) {
    add_content(held_, news);
    held_.clear();
    state_ = State::kContent;
    return true;
  }

  JsonStyle style_;
  std::vector<std::string> names_;
  State state_ = State::kContent;
  std::string held_;  // the mark and what followed, while it may still be no call
  CallObject object_;
  bool announced_ = false;
};

}  // namespace

std::unique_ptr<ToolCallParser> make_hermes_parser(const std::vector<std::string>& names) {
  return std::make_unique<JsonCallParser>(JsonStyle{.open = "<tool_call>", .close = "</tool_call>"},
                                          names);
}

std::unique_ptr<ToolCallParser> make_llama3_parser(const std::vector<std::string>& names) {
  return std::make_unique<JsonCallParser>(
      JsonStyle{.open = "<|python_tag|>", .close = "", .may_be_bare = true, .separator = ';'},
      names);
}

std::unique_ptr<ToolCallParser> make_mistral_list_parser(const std::vector<std::string>& names) {
  return std::make_unique<JsonCallParser>(
      JsonStyle{.open = "[TOOL_CALLS]", .close = "", .is_list = true, .separator = ','}, names);
}

}  // namespace lanner
