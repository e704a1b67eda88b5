// SPDX-License-Identifier: Apache-2.0
#include "engine/chat_plan.h"

#include <algorithm>
#include <span>

#include "base/error.h"
#include "text/reasoning_splitter.h"
#include "text/tool_calls/formats.h"

namespace lanner {
namespace {

using Choice = ToolChoice::Kind;

// Only these may be called.
std::vector<Tool> callable_tools(const ChatRequest& chat) {
  if (chat.tool_choice.kind != Choice::kNamed) return chat.tools;
  const auto found = std::ranges::find(chat.tools, chat.tool_choice.name, &Tool::name);
  check_argument(found != chat.tools.end(), "[chat] tool_choice names '{}', which is no tool",
                 chat.tool_choice.name);
  return {*found};
}

std::string known_formats() {
  std::string names;
  for (const ToolCallFormat& format : tool_call_formats()) {
    names += (names.empty() ? "" : ", ") + std::string(format.name);
  }
  return names;
}

std::optional<int32_t> special_token(const Tokenizer& tokenizer, std::string_view mark) {
  const std::optional<int32_t> id = tokenizer.token_id(mark);
  return id && tokenizer.is_special(*id) ? id : std::nullopt;
}

void plan_tools(const LoadedText& text, const ChatRequest& chat, ChatPlan& plan) {
  const Choice choice = chat.tool_choice.kind;
  const bool demanded = choice == Choice::kRequired || choice == Choice::kNamed;
  if (chat.tools.empty()) {
    check_argument(!demanded, "[chat] tool_choice demands a call, and there are no tools");
    return;
  }
  if (choice == Choice::kNone) return;
  plan.tool_calls = find_tool_call_format(text.chat_template().source(/*with_tools=*/true));
  if (plan.tool_calls == nullptr) {
    throw_error(ErrorCode::kUnsupported,
                "[chat] this model writes tool calls in a format that is not known; known are {}",
                known_formats());
  }
  const std::vector<Tool> tools = callable_tools(chat);
  for (const Tool& tool : chat.tools) plan.tool_names.push_back(tool.name);
  const Tokenizer& tokenizer = text.required_tokenizer();
  for (std::string_view mark : plan.tool_calls->marks) {
    if (const auto id = special_token(tokenizer, mark)) plan.shown_tokens.push_back(*id);
  }
  if (!demanded) return;
  StructuredOutput& form = plan.request.sampling.structured;
  check_argument(!form.enabled(),
                 "[chat] tool_choice demands a call, and the sampling a form of the answer; one of "
                 "them");
  const bool several = choice == Choice::kRequired && chat.parallel_tool_calls;
  form.kind = StructuredOutput::Kind::kLark;
  form.source = tool_call_grammar(*plan.tool_calls, tools, several, [&](std::string_view mark) {
    return special_token(tokenizer, mark);
  });
}

void plan_reasoning(const LoadedText& text, const ChatRequest& chat, const std::string& prompt,
                    ChatPlan& plan) {
  const std::string source = text.chat_template().source(!chat.tools.empty());
  if (source.find(kThinkClose) == std::string::npos &&
      source.find(kThinkOpen) == std::string::npos) {
    return;
  }
  const Tokenizer& tokenizer = text.required_tokenizer();
  const bool begins = chat.add_generation_prompt && ends_in_reasoning(prompt);
  if (begins && plan.request.sampling.structured.enabled()) {
    plan.form_after = tokenizer.token_id(kThinkClose);
    if (!plan.form_after) {
      throw_error(ErrorCode::kUnsupported,
                  "[chat] the answer begins with reasoning, whose end is no token of this model: "
                  "its form cannot be kept. Templates of such models often take the argument "
                  "enable_thinking: false");
    }
  }
  for (std::string_view mark : {kThinkOpen, kThinkClose}) {
    if (const auto id = special_token(tokenizer, mark)) plan.shown_tokens.push_back(*id);
  }
  plan.splits_reasoning = chat.split_reasoning;
  plan.begins_in_reasoning = begins;
}

}  // namespace

ChatPlan plan_chat(const LoadedText& text, const ChatRequest& chat) {
  std::string prompt = text.render(chat);
  ChatPlan plan;
  plan.request.sampling = chat.sampling;
  plan.request.prompt_has_special_tokens = true;
  plan.request.truncate_prompt = chat.truncate_prompt;
  plan.request.priority = chat.priority;
  plan.request.cache_salt = chat.cache_salt;
  plan.request.lora = chat.lora;
  plan_tools(text, chat, plan);
  plan_reasoning(text, chat, prompt, plan);
  plan.request.prompt = std::move(prompt);
  return plan;
}

}  // namespace lanner
