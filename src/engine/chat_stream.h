// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "engine/chat_plan.h"
#include "lanner/chat.h"
#include "text/reasoning_splitter.h"
#include "text/tool_calls/parser.h"

namespace lanner {

// Reads the answers of one chat: outputs of its request in, content, reasoning and tool calls out.
// Lives in the callback that the engine holds, so it is used by the engine's thread alone.
class ChatStream {
 public:
  ChatStream(const ChatPlan& plan, ChatCallback on_output);

  void push(const RequestOutput& step);

 private:
  struct Answer {
    ReasoningSplitter reasoning;
    std::unique_ptr<ToolCallParser> parser;  // null: no calls to look for
  };

  std::string make_id();

  bool splits_reasoning_;
  size_t id_length_;
  std::string id_prefix_;
  std::mt19937_64 random_;
  std::vector<Answer> answers_;
  ChatCallback on_output_;
};

// Adds an output to a completion, whose message is that of an assistant.
void append(const ChatOutput& output, ChatCompletion& completion);

}  // namespace lanner
