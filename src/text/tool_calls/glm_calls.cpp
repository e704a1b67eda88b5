// SPDX-License-Identifier: Apache-2.0
// GLM: the first line of an answer names a tool, the rest are its arguments.
#include <algorithm>
#include <string>
#include <utility>

#include "text/tool_calls/json_scanner.h"
#include "text/tool_calls/parsers.h"
#include "text/tool_calls/python_arguments.h"

namespace lanner {
namespace {

class GlmParser final : public ToolCallParser {
 public:
  explicit GlmParser(std::vector<std::string> names) : names_(std::move(names)) {
    for (const std::string& name : names_) max_line_ = std::max(max_line_, name.size());
  }

 private:
  static constexpr std::string_view kBlock = "```python";
  static constexpr std::string_view kCall = "tool_call(";
  static constexpr std::string_view kBlockEnd = "```";

  enum class State { kName, kBeforeArguments, kJson, kPython, kAfterCall, kContent };

  bool step(ChatDelta& news) override {
    switch (state_) {
      case State::kName:
        return name(news);
      case State::kBeforeArguments:
        return before_arguments(news);
      case State::kJson:
        return json(news);
      case State::kPython:
        return python(news);
      case State::kAfterCall:
        return after_call();
      case State::kContent:
        add_content(rest(), news);
        skip(rest().size());
        return false;
    }
    return false;
  }

  bool name(ChatDelta& news) {
    const size_t end = rest().find('\n');
    // A blank may follow the name; a line that cannot become one ends the wait for it.
    if (end == std::string_view::npos && rest().size() <= max_line_ + 1 && !ended()) return false;
    if (end != std::string_view::npos) {
      name_ = rest().substr(0, end);
      while (name_.ends_with(' ') || name_.ends_with('\r')) name_.pop_back();
      if (std::ranges::find(names_, name_) != names_.end()) {
        held_ = rest().substr(0, end + 1);
        skip(end + 1);
        state_ = State::kBeforeArguments;
        return true;
      }
    }
    return give_back(news);
  }

  bool before_arguments(ChatDelta& news) {
    hold(std::min(rest().find_first_not_of(" \t\n\r"), rest().size()));
    if (rest().empty()) return ended() && give_back(news);
    if (rest().front() == '{') {
      begin_call(std::move(name_), "", news);
      scanner_ = JsonScanner();
      state_ = State::kJson;
      return true;
    }
    if (may_become(kBlock) || may_become(kCall)) return false;
    if (rest().starts_with(kBlock)) {
      hold(kBlock.size());
      return true;
    }
    if (!rest().starts_with(kCall)) return give_back(news);
    hold(kCall.size());
    state_ = State::kPython;
    return true;
  }

  bool json(ChatDelta& news) {
    const size_t count = scanner_.push(rest());
    add_arguments(rest().substr(0, count), news);
    skip(count);
    if (!scanner_.done()) return false;
    state_ = State::kAfterCall;
    return true;
  }

  bool python(ChatDelta& news) {
    const size_t count = python_.push(rest());
    arguments_ += rest().substr(0, count);
    skip(count);
    if (!python_.done() && !ended()) return false;
    const auto arguments = python_.done() ? python_arguments(arguments_) : std::nullopt;
    if (!arguments) {
      held_ += arguments_;
      return give_back(news);
    }
    skip(1);
    begin_call(std::move(name_), "", news);
    add_arguments(*arguments, news);
    state_ = State::kAfterCall;
    return true;
  }

  bool after_call() {
    skip_blanks();
    if (may_become(kBlockEnd)) return false;
    skip_mark(kBlockEnd);
    state_ = State::kContent;
    return true;
  }

  void hold(size_t count) {
    held_ += rest().substr(0, count);
    skip(count);
  }

  bool give_back(ChatDelta& news) {
    add_content(held_, news);
    held_.clear();
    state_ = State::kContent;
    return true;
  }

  std::vector<std::string> names_;
  size_t max_line_ = 0;
  State state_ = State::kName;
  std::string name_;
  std::string held_;  // what may still be no call
  JsonScanner scanner_;
  PythonCallScanner python_;
  std::string arguments_;
};

}  // namespace

std::unique_ptr<ToolCallParser> make_glm_parser(const std::vector<std::string>& names) {
  return std::make_unique<GlmParser>(names);
}

}  // namespace lanner
