// SPDX-License-Identifier: Apache-2.0
#include "text/reasoning_splitter.h"

#include "text/tool_calls/parser.h"

namespace lanner {
namespace {

constexpr std::string_view kBlanks = " \t\n\r";

}  // namespace

void ReasoningSplitter::push(std::string_view text, std::string& reasoning, std::string& content) {
  if (state_ == State::kContent) {
    content += text;
    return;
  }
  held_ += text;
  while (step(reasoning, content)) {
  }
}

void ReasoningSplitter::finish(std::string& reasoning, std::string& content) {
  ended_ = true;
  while (step(reasoning, content)) {
  }
  if (state_ == State::kStart) content += held_;
  held_.clear();
}

// Takes from held_. False: there is nothing more to do with it now.
bool ReasoningSplitter::step(std::string& reasoning, std::string& content) {
  switch (state_) {
    case State::kStart: {
      const size_t first = held_.find_first_not_of(kBlanks);
      if (first == std::string::npos) return false;
      const std::string_view text = std::string_view(held_).substr(first);
      if (text.starts_with(kThinkOpen)) {
        held_.erase(0, first + kThinkOpen.size());
        state_ = State::kReasoning;
        return true;
      }
      if (!ended_ && kThinkOpen.starts_with(text)) return false;
      state_ = State::kContent;
      return true;
    }
    case State::kReasoning: {
      const size_t close = held_.find(kThinkClose);
      const bool closed = close != std::string::npos;
      const size_t end =
          closed ? close : held_.size() - (ended_ ? 0 : partial_mark(held_, kThinkClose));
      add_reasoning(std::string_view(held_).substr(0, end), reasoning);
      held_.erase(0, closed ? end + kThinkClose.size() : end);
      if (closed) state_ = State::kBeforeContent;
      return closed;
    }
    case State::kBeforeContent: {
      const size_t first = held_.find_first_not_of(kBlanks);
      if (first == std::string::npos) {
        held_.clear();
        return false;
      }
      held_.erase(0, first);
      state_ = State::kContent;
      return true;
    }
    case State::kContent:
      content += held_;
      held_.clear();
      return false;
  }
  return false;
}

// Blanks at its start and at its end do not belong to it.
void ReasoningSplitter::add_reasoning(std::string_view text, std::string& reasoning) {
  const size_t end = text.find_last_not_of(kBlanks) + 1;  // npos + 1 is 0
  if (end > 0) {
    const size_t begin = has_reasoning_ ? 0 : text.find_first_not_of(kBlanks);
    if (has_reasoning_) reasoning += blanks_;
    reasoning += text.substr(begin, end - begin);
    blanks_.clear();
    has_reasoning_ = true;
  }
  blanks_ += text.substr(end);
}

bool ends_in_reasoning(std::string_view prompt) {
  const size_t open = prompt.rfind(kThinkOpen);
  return open != std::string_view::npos &&
         prompt.find(kThinkClose, open) == std::string_view::npos &&
         prompt.substr(open + kThinkOpen.size()).find_first_not_of(kBlanks) ==
             std::string_view::npos;
}

}  // namespace lanner
