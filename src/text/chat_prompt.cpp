// SPDX-License-Identifier: Apache-2.0
#include "text/chat_prompt.h"

#include <algorithm>
#include <string_view>
#include <unordered_set>

#include "base/error.h"
#include "base/json.h"

namespace lanner {
namespace {

constexpr size_t kMaxTools = 128;
constexpr size_t kMaxNameBytes = 64;

// Throws kInvalidArgument: the text comes from a client, not from a file.
Json parse_object(const std::string& text, const std::string& name) {
  Json object;
  try {
    object = parse_json(text, name, {.max_bytes = size_t{1} << 20, .max_depth = 64});
  } catch (const Error& e) {
    throw Error(ErrorCode::kInvalidArgument, e.what());
  }
  check_argument(object.is_object(), "{}: {} instead of a JSON object", name, object.type_name());
  return object;
}

std::string joined(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) {
    if (&part != parts.data()) text += '\n';
    text += part;
  }
  return text;
}

Json tool_call_json(const ToolCall& call, size_t message, size_t index) {
  const std::string name =
      fmt::format("[chat] messages[{}].tool_calls[{}].arguments", message, index);
  check_argument(!call.name.empty(), "[chat] messages[{}].tool_calls[{}] has no name", message,
                 index);
  Json function = {{"name", call.name}, {"arguments", Json::object()}};
  if (!call.arguments.empty()) function["arguments"] = parse_object(call.arguments, name);
  Json json = {{"type", "function"}, {"function", std::move(function)}};
  if (!call.id.empty()) json["id"] = call.id;
  return json;
}

Json message_json(const ChatMessage& message, size_t index) {
  check_argument(!message.role.empty(), "[chat] messages[{}] has no role", index);
  check_argument(message.content.empty() || message.content_parts.empty(),
                 "[chat] messages[{}] has both content and content_parts", index);
  Json json = {
      {"role", message.role},
      {"content", message.content_parts.empty() ? message.content : joined(message.content_parts)}};
  if (!message.reasoning_content.empty()) json["reasoning_content"] = message.reasoning_content;
  if (!message.tool_calls.empty()) {
    Json calls = Json::array();
    for (size_t i = 0; i < message.tool_calls.size(); ++i) {
      calls.push_back(tool_call_json(message.tool_calls[i], index, i));
    }
    json["tool_calls"] = std::move(calls);
  }
  if (!message.tool_call_id.empty()) json["tool_call_id"] = message.tool_call_id;
  if (!message.name.empty()) json["name"] = message.name;
  return json;
}

bool is_function_name(std::string_view name) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
  };
  return !name.empty() && name.size() <= kMaxNameBytes && std::ranges::all_of(name, allowed);
}

std::string dump(const Json& json) {
  try {
    return json.dump();
  } catch (const Json::exception& e) {
    throw_error(ErrorCode::kInvalidArgument, "[chat] a text is not valid UTF-8: {}", e.what());
  }
}

}  // namespace

std::string messages_json(const std::vector<ChatMessage>& messages) {
  check_argument(!messages.empty(), "[chat] there are no messages");
  Json list = Json::array();
  for (size_t i = 0; i < messages.size(); ++i) list.push_back(message_json(messages[i], i));
  return dump(list);
}

std::string tools_json(const std::vector<Tool>& tools) {
  if (tools.empty()) return "";
  check_argument(tools.size() <= kMaxTools, "[chat] {} tools, expected at most {}", tools.size(),
                 kMaxTools);
  std::unordered_set<std::string_view> names;
  Json list = Json::array();
  for (size_t i = 0; i < tools.size(); ++i) {
    const Tool& tool = tools[i];
    check_argument(is_function_name(tool.name),
                   "[chat] tools[{}] has the name '{}', expected 1 to {} letters, digits, '_', '-' "
                   "or '.'",
                   i, tool.name.substr(0, kMaxNameBytes), kMaxNameBytes);
    check_argument(names.insert(tool.name).second, "[chat] two tools have the name '{}'",
                   tool.name);
    Json function = {{"name", tool.name}};
    if (!tool.description.empty()) function["description"] = tool.description;
    function["parameters"] =
        tool.parameters.empty()
            ? Json{{"type", "object"}, {"properties", Json::object()}}
            : parse_object(tool.parameters,
                           fmt::format("[chat] parameters of tool '{}'", tool.name));
    list.push_back({{"type", "function"}, {"function", std::move(function)}});
  }
  return dump(list);
}

}  // namespace lanner
