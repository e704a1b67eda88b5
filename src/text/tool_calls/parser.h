// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lanner/chat.h"

namespace lanner {

// What a piece of an answer has turned out to be.
struct ChatDelta {
  std::string content = {};
  std::string reasoning = {};
  std::vector<ToolCallDelta> tool_calls = {};
};

// Splits an answer, which comes in pieces, into content and tool calls, by the format of one model
// family. Linear in the length of the answer: a byte is looked at a bounded number of times. What
// only looked like a call is given back as content. For one answer and one thread at a time.
class ToolCallParser {
 public:
  virtual ~ToolCallParser() = default;

  void push(std::string_view text, ChatDelta& news);
  // The end of the answer: what was held back.
  void finish(ChatDelta& news);
  int num_calls() const { return num_calls_; }

 protected:
  // Takes from the front of rest() what it can. False: it needs more text, or, if ended(), there
  // is nothing left to do; what remains then is given back as content.
  virtual bool step(ChatDelta& news) = 0;

  std::string_view rest() const { return std::string_view(buffer_).substr(at_); }
  void skip(size_t count) { at_ += count; }
  void skip_blanks();
  // True if rest() begins with the mark, which is taken then.
  bool skip_mark(std::string_view mark);
  // rest() may become the mark with more text.
  bool may_become(std::string_view mark) const;
  bool ended() const { return ended_; }

  // Takes what comes before the mark as content, and the mark. False: there is none, and all that
  // cannot be the beginning of one was content.
  bool content_up_to(std::string_view mark, ChatDelta& news);
  // Blanks before and after calls are no content.
  void add_content(std::string_view text, ChatDelta& news);
  void begin_call(std::string name, std::string id, ChatDelta& news);
  // Of the call begun last.
  void add_arguments(std::string_view text, ChatDelta& news);
  // Nothing but blanks has been content, and there has been no call.
  bool at_start() const { return !has_content_ && num_calls_ == 0; }

 private:
  std::string buffer_;
  size_t at_ = 0;
  std::string blanks_;  // of the content, held back: calls may follow
  bool has_content_ = false;
  bool ended_ = false;
  int num_calls_ = 0;
};

// The length of the longest end of a text with which the mark begins.
size_t partial_mark(std::string_view text, std::string_view mark);

}  // namespace lanner
