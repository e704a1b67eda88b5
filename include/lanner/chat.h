// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "lanner/request.h"
#include "lanner/sampling_params.h"

namespace lanner {

// A call of a function that the model has made, or is asked to see as made.
struct ToolCall {
  // The handle by which a result names its call (ChatMessage::tool_call_id).
  std::string id = {};
  std::string name = {};       // of the function
  std::string arguments = {};  // JSON text of an object
};

// One message of a conversation.
struct ChatMessage {
  // "system", "user", "assistant", "tool" or what the model's template knows.
  std::string role = {};
  std::string content = {};
  // The content in several texts instead of `content`; the template sees them joined by newlines.
  std::vector<std::string> content_parts = {};
  // What an assistant thought before it answered. Templates decide whether the model sees it again.
  std::string reasoning_content = {};
  std::vector<ToolCall> tool_calls = {};  // of an assistant
  std::string tool_call_id = {};          // of a tool: which call this is the result of
  std::string name = {};  // of a tool's function or a speaker, for templates with names
};

// A function that the model may call.
struct Tool {
  std::string name = {};  // letters, digits, '_' and '-' and '.', at most 64 of them
  std::string description = {};
  // JSON schema of the arguments, an object, as JSON text; "" for no arguments. The order of its
  // keys is kept in the prompt.
  std::string parameters = {};
};

// Whether the model calls functions.
struct ToolChoice {
  enum class Kind {
    kAuto,      // as it likes
    kNone,      // never: the tools are left out of the prompt
    kRequired,  // at least one call and nothing else; the arguments are valid against the schemas
    kNamed,     // one call of the function `name`; the arguments are valid against its schema
  };
  Kind kind = Kind::kAuto;
  std::string name = {};
};

// A conversation to go on with.
struct ChatRequest {
  std::vector<ChatMessage> messages = {};
  // Throws where the model's template cannot render them.
  std::vector<Tool> tools = {};
  ToolChoice tool_choice = {};
  bool parallel_tool_calls = true;  // false: one call at most
  // Further variables of the template as the JSON text of an object, e.g.
  // {"enable_thinking": false}; "" for none.
  std::string template_arguments = {};
  // The prompt ends where an answer starts.
  bool add_generation_prompt = true;
  // Text between <think> and </think> comes as reasoning; false: it stays in the content.
  bool split_reasoning = true;
  SamplingParams sampling = {};
  // As in Request.
  bool truncate_prompt = false;
  int priority = 0;
  std::string cache_salt = {};
  std::string lora = {};
};

// News of one tool call. `id` and `name` come once, whole, with the first delta of an index;
// the pieces of `arguments` add up.
struct ToolCallDelta {
  int index = 0;
  std::string id = {};
  std::string name = {};
  std::string arguments = {};
};

// One step's news of one answer of a chat.
struct ChatOutput {
  // Tokens, counts, finish reason, error. Its text is the raw one, with all the markup of the
  // model. finish_reason is kToolCalls instead of kStop when the answer has called a function.
  RequestOutput step = {};
  std::string content = {};
  std::string reasoning = {};
  std::vector<ToolCallDelta> tool_calls = {};
};

// Called as an OutputCallback is.
using ChatCallback = std::function<void(const ChatOutput&)>;

// A finished chat.
struct ChatCompletion {
  ChatMessage message;    // of the assistant, ready to be appended to the conversation
  Completion completion;  // its text is the raw one
};

}  // namespace lanner
