// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/model_text.h"
#include "lanner/chat.h"
#include "lanner/request.h"

namespace lanner {

struct ToolCallFormat;

// What becomes of a chat: the request that is run, and how its answer is read.
struct ChatPlan {
  Request request;  // the rendered prompt; the calls that are demanded are its form
  // Of the calls in the answer; null: there are none to look for.
  const ToolCallFormat* tool_calls = nullptr;
  std::vector<std::string> tool_names;
  bool splits_reasoning = false;
  bool begins_in_reasoning = false;  // the prompt has opened it
  // Special tokens that are text here: the marks of calls and of reasoning.
  std::vector<int32_t> shown_tokens;
  // The form of the answer (SamplingParams::structured) begins after this token.
  std::optional<int32_t> form_after;
};

// Throws Error: what LoadedText::render throws; kUnsupported where tools are given and the model's
// format of calls is not known, or where a form is to follow a reasoning whose end is no token;
// kInvalidArgument for a tool choice that the tools do not allow.
ChatPlan plan_chat(const LoadedText& text, const ChatRequest& chat);

}  // namespace lanner
