// SPDX-License-Identifier: Apache-2.0
#include "text/tool_calls/parser.h"

#include <algorithm>
#include <utility>

#include "text/tool_calls/json_scanner.h"

namespace lanner {
namespace {

constexpr std::string_view kBlanks = " \t\n\r";

}  // namespace

size_t partial_mark(std::string_view text, std::string_view mark) {
  for (size_t length = std::min(mark.size() - 1, text.size()); length > 0; --length) {
    if (mark.starts_with(text.substr(text.size() - length))) return length;
  }
  return 0;
}

void ToolCallParser::push(std::string_view text, ChatDelta& news) {
  buffer_ += text;
  while (step(news)) {
  }
  buffer_.erase(0, at_);
  at_ = 0;
}

void ToolCallParser::finish(ChatDelta& news) {
  ended_ = true;
  while (step(news)) {
  }
  add_content(rest(), news);
  buffer_.clear();
  at_ = 0;
  if (num_calls_ == 0) news.content += blanks_;
  blanks_.clear();
}

void ToolCallParser::skip_blanks() {
  while (at_ < buffer_.size() && is_json_blank(buffer_[at_])) ++at_;
}

bool ToolCallParser::skip_mark(std::string_view mark) {
  if (!rest().starts_with(mark)) return false;
  skip(mark.size());
  return true;
}

bool ToolCallParser::may_become(std::string_view mark) const {
  return !ended_ && rest().size() < mark.size() && mark.starts_with(rest());
}

bool ToolCallParser::content_up_to(std::string_view mark, ChatDelta& news) {
  const size_t place = rest().find(mark);
  if (place != std::string_view::npos) {
    add_content(rest().substr(0, place), news);
    skip(place + mark.size());
    return true;
  }
  const size_t certain = rest().size() - (ended_ ? 0 : partial_mark(rest(), mark));
  add_content(rest().substr(0, certain), news);
  skip(certain);
  return false;
}

void ToolCallParser::add_content(std::string_view text, ChatDelta& news) {
  const size_t end = text.find_last_not_of(kBlanks) + 1;  // npos + 1 is 0
  if (end > 0) {
    // Blanks between a call and the first content belong to neither.
    const bool after_call = num_calls_ > 0 && !has_content_;
    const size_t begin = after_call ? text.find_first_not_of(kBlanks) : 0;
    if (!after_call) news.content += blanks_;
    news.content += text.substr(begin, end - begin);
    blanks_.clear();
    has_content_ = true;
  }
  blanks_ += text.substr(end);
}

void ToolCallParser::begin_call(std::string name, std::string id, ChatDelta& news) {
  blanks_.clear();
  news.tool_calls.push_back(
      {.index = num_calls_++, .id = std::move(id), .name = std::move(name), .arguments = {}});
}

void ToolCallParser::add_arguments(std::string_view text, ChatDelta& news) {
  if (text.empty()) return;
  const int index = num_calls_ - 1;
  if (news.tool_calls.empty() || news.tool_calls.back().index != index) {
    news.tool_calls.push_back({.index = index, .id = {}, .name = {}, .arguments = {}});
  }
  news.tool_calls.back().arguments += text;
}

}  // namespace lanner
