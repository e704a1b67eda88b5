// SPDX-License-Identifier: Apache-2.0
// Formats that write a name, then the arguments as a JSON object: Mistral from v11, DeepSeek.
#include <string>
#include <utility>

#include "text/tool_calls/json_scanner.h"
#include "text/tool_calls/parsers.h"

namespace lanner {
namespace {

// What stands between the marks around a name is looked through again with every piece of text:
// longer than this it is no name.
constexpr size_t kMaxHeadBytes = 512;

// A name between two marks and the arguments after it. A parser of a format says what comes around.
class NamedCallParser : public ToolCallParser {
 protected:
  enum class Head { kMore, kDone, kNone };

  // The text up to the mark, which is taken too.
  Head read_head(std::string_view mark, std::string& text) {
    const size_t place = rest().substr(0, kMaxHeadBytes + mark.size()).find(mark);
    if (place == std::string_view::npos) {
      return ended() || rest().size() > kMaxHeadBytes ? Head::kNone : Head::kMore;
    }
    text = rest().substr(0, place);
    skip(place + mark.size());
    return Head::kDone;
  }

  void begin_arguments(std::string name, std::string id, ChatDelta& news) {
    begin_call(std::move(name), std::move(id), news);
    scanner_ = JsonScanner();
  }

  // False: they have not ended yet.
  bool read_arguments(ChatDelta& news) {
    const size_t count = scanner_.push(rest());
    add_arguments(rest().substr(0, count), news);
    skip(count);
    return scanner_.done();
  }

 private:
  JsonScanner scanner_;
};

std::string trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\n\r");
  if (first == std::string_view::npos) return "";
  return std::string(text.substr(first, text.find_last_not_of(" \t\n\r") + 1 - first));
}

class MistralArgsParser final : public NamedCallParser {
 private:
  static constexpr std::string_view kOpen = "[TOOL_CALLS]";
  static constexpr std::string_view kId = "[CALL_ID]";
  static constexpr std::string_view kArguments = "[ARGS]";

  enum class State { kContent, kHead, kBeforeArguments, kArguments };

  bool step(ChatDelta& news) override {
    switch (state_) {
      case State::kContent:
        if (!content_up_to(kOpen, news)) return false;
        state_ = State::kHead;
        return true;
      case State::kHead:
        return head(news);
      case State::kBeforeArguments:
        return before_arguments(news);
      case State::kArguments:
        if (!read_arguments(news)) return false;
        state_ = State::kContent;
        return true;
    }
    return false;
  }

  bool head(ChatDelta& news) {
    const Head head = read_head(kArguments, head_);
    if (head == Head::kMore) return false;
    if (head == Head::kNone) return give_back(kOpen, news);
    state_ = State::kBeforeArguments;
    return true;
  }

  bool before_arguments(ChatDelta& news) {
    skip_blanks();
    if (rest().empty() && !ended()) return false;
    const size_t id = head_.find(kId);
    const std::string name = trimmed(std::string_view(head_).substr(0, id));
    if (name.empty() || !rest().starts_with('{')) {
      return give_back(std::string(kOpen) + head_ + std::string(kArguments), news);
    }
    begin_arguments(
        name,
        id == std::string::npos ? "" : trimmed(std::string_view(head_).substr(id + kId.size())),
        news);
    state_ = State::kArguments;
    return true;
  }

  bool give_back(std::string_view text, ChatDelta& news) {
    add_content(text, news);
    state_ = State::kContent;
    return true;
  }

  State state_ = State::kContent;
  std::string head_;
};

class DeepSeekParser final : public NamedCallParser {
 private:
  static constexpr std::string_view kOpen = "<｜tool▁calls▁begin｜>";
  static constexpr std::string_view kClose = "<｜tool▁calls▁end｜>";
  static constexpr std::string_view kCallOpen = "<｜tool▁call▁begin｜>";
  static constexpr std::string_view kCallClose = "<｜tool▁call▁end｜>";
  static constexpr std::string_view kSeparator = "<｜tool▁sep｜>";
  static constexpr std::string_view kType = "function";
  static constexpr std::string_view kBlock = "```json";

  enum class State { kContent, kGroup, kHead, kBlockHead, kBeforeArguments, kArguments, kCallEnd };

  bool step(ChatDelta& news) override {
    switch (state_) {
      case State::kContent:
        if (!content_up_to(kOpen, news)) return false;
        held_ = kOpen;
        state_ = State::kGroup;
        return true;
      case State::kGroup:
        return group(news);
      case State::kHead:
        return head(news);
      case State::kBlockHead:
        return block_head(news);
      case State::kBeforeArguments:
        return before_arguments(news);
      case State::kArguments:
        if (!read_arguments(news)) return false;
        state_ = State::kCallEnd;
        return true;
      case State::kCallEnd:
        return call_end();
    }
    return false;
  }

  bool group(ChatDelta& news) {
    skip_blanks();
    if (rest().empty() && !ended()) return false;
    if (may_become(kCallOpen) || may_become(kClose)) return false;
    if (skip_mark(kCallOpen)) {
      held_ += kCallOpen;
      state_ = State::kHead;
      return true;
    }
    if (num_calls() > 0) held_.clear();
    if (skip_mark(kClose)) held_.clear();
    return give_back(news);
  }

  bool head(ChatDelta& news) {
    std::string text;
    const Head head = read_head(kSeparator, text);
    if (head == Head::kMore) return false;
    if (head == Head::kNone) return give_back(news);
    held_ += text;
    held_ += kSeparator;
    name_ = trimmed(text);
    state_ = name_ == kType ? State::kBlockHead : State::kBeforeArguments;
    return true;
  }

  bool block_head(ChatDelta& news) {
    std::string text;
    const Head head = read_head(kBlock, text);
    if (head == Head::kMore) return false;
    if (head == Head::kNone) return give_back(news);
    held_ += text;
    held_ += kBlock;
    name_ = trimmed(text);
    state_ = State::kBeforeArguments;
    return true;
  }

  bool before_arguments(ChatDelta& news) {
    skip_blanks();
    if (rest().empty() && !ended()) return false;
    if (name_.empty() || !rest().starts_with('{')) return give_back(news);
    begin_arguments(std::move(name_), "", news);
    held_.clear();
    state_ = State::kArguments;
    return true;
  }

  // Past the end of the code block.
  bool call_end() {
    const size_t place = rest().find(kCallClose);
    if (place == std::string_view::npos) {
      skip(rest().size() - partial_mark(rest(), kCallClose));
      return false;
    }
    skip(place + kCallClose.size());
    state_ = State::kGroup;
    return true;
  }

  bool give_back(ChatDelta& news) {
    add_content(held_, news);
    held_.clear();
    state_ = State::kContent;
    return true;
  }

  State state_ = State::kContent;
  std::string held_;  // the marks of a call that may still be none
  std::string name_;
};

}  // namespace

std::unique_ptr<ToolCallParser> make_mistral_args_parser(const std::vector<std::string>&) {
  return std::make_unique<MistralArgsParser>();
}

std::unique_ptr<ToolCallParser> make_deepseek_parser(const std::vector<std::string>&) {
  return std::make_unique<DeepSeekParser>();
}

}  // namespace lanner
