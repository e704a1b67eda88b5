// SPDX-License-Identifier: Apache-2.0
#include "server/chat_request.h"

#include <fmt/format.h>

#include "server/schema.h"
#include "server/sse.h"
#include "server/status.h"

namespace lanner::server {
namespace {

Json tool_call_schema() {
  return object(
      {{"id", text(1, 256)},
       {"type", one_of({"function"})},
       {"function", object({{"name", text(1, 64)}, {"arguments", text()}}, {"name", "arguments"})}},
      {"id", "function"});
}

Json message_schema() {
  const Json part = object({{"type", one_of({"text"})}, {"text", text()}}, {"type", "text"});
  return object({{"role", one_of({"system", "developer", "user", "assistant", "tool"})},
                 {"content", nullable(any_of({text(), list(part, 1)}))},
                 {"name", nullable(text(1, 256))},
                 {"reasoning_content", nullable(text())},
                 {"tool_calls", nullable(list(tool_call_schema()))},
                 {"tool_call_id", nullable(text(1, 256))},
                 {"refusal", Json{{"type", "null"}}}},
                {"role"});
}

Json tool_schema() {
  return object({{"type", one_of({"function"})},
                 {"function", object({{"name", text(1, 64)},
                                      {"description", nullable(text())},
                                      {"parameters", nullable(any_object())},
                                      {"strict", nullable(boolean())}},
                                     {"name"})}},
                {"type", "function"});
}

Json tool_choice_schema() {
  return any_of({one_of({"auto", "none", "required"}),
                 object({{"type", one_of({"function"})},
                         {"function", object({{"name", text(1, 64)}}, {"name"})}},
                        {"type", "function"})});
}

std::string text_of(const Json& object, const char* name) {
  const auto found = object.find(name);
  return found == object.end() || found->is_null() ? "" : found->get<std::string>();
}

ChatMessage read_message(const Json& json, const std::string& place) {
  ChatMessage message;
  message.role = json.at("role").get<std::string>();
  if (message.role == "developer") message.role = "system";  // OpenAI's newer name of it
  const Json content = json.value("content", Json());
  if (content.is_string()) message.content = content.get<std::string>();
  for (const Json& part : content.is_array() ? content : Json::array()) {
    message.content_parts.push_back(part.at("text").get<std::string>());
  }
  message.name = text_of(json, "name");
  message.reasoning_content = text_of(json, "reasoning_content");
  message.tool_call_id = text_of(json, "tool_call_id");
  const Json calls = json.value("tool_calls", Json());
  for (const Json& call : calls.is_array() ? calls : Json::array()) {
    message.tool_calls.push_back({call.at("id").get<std::string>(),
                                  call.at("function").at("name").get<std::string>(),
                                  call.at("function").at("arguments").get<std::string>()});
  }
  if (content.is_null() && (message.role != "assistant" || message.tool_calls.empty())) {
    throw HttpError(400, fmt::format("'{}.content' is missing", place), "messages");
  }
  if (!message.tool_calls.empty() && message.role != "assistant") {
    throw HttpError(400, fmt::format("'{}.tool_calls' is for the role assistant", place),
                    "messages");
  }
  return message;
}

ToolChoice read_tool_choice(const Json& json) {
  if (json.is_object()) {
    return {ToolChoice::Kind::kNamed, json.at("function").at("name").get<std::string>()};
  }
  if (json == "none") return {ToolChoice::Kind::kNone};
  return {json == "required" ? ToolChoice::Kind::kRequired : ToolChoice::Kind::kAuto};
}

}  // namespace

std::vector<std::pair<std::string, Json>> chat_members(const Limits& limits) {
  return {
      {"messages",
       described(list(message_schema(), 1, limits.messages), "The conversation so far")},
      {"tools", described(nullable(list(tool_schema(), 0, limits.tools)),
                          "Functions that the model may call")},
      {"tool_choice", described(nullable(tool_choice_schema()),
                                "Whether it calls them: auto, none, required, or one by name")},
      {"parallel_tool_calls",
       described(nullable(boolean()), "false: at most one call in an answer")},
      {"chat_template_kwargs",
       described(nullable(any_object()), "Further variables of the model's chat template")},
      {"reasoning_format",
       described(nullable(one_of({"split", "none"})),
                 "split: what a model thinks comes as reasoning_content; none: in the content")},
  };
}

void check_count(const Json& value, const char* param, const char* limit, int64_t most) {
  if (!value.is_array() || static_cast<int64_t>(value.size()) <= most) return;
  throw HttpError::limit(
      400, limit,
      fmt::format("'{}' has {} entries, at most {} are allowed", param, value.size(), most), param);
}

Tool make_tool(std::string name, std::string description, const Json& parameters,
               const Limits& limits) {
  std::string schema = parameters.is_null() ? "" : json_text(parameters);
  if (static_cast<int64_t>(schema.size()) > limits.schema_bytes) {
    throw HttpError::limit(
        400, "schema_bytes",
        fmt::format("the parameters of tool '{}' have {} bytes, at most {} are allowed", name,
                    schema.size(), limits.schema_bytes),
        "tools");
  }
  return {std::move(name), std::move(description), std::move(schema)};
}

void check_tool_choice(const ChatRequest& chat) {
  const ToolChoice& choice = chat.tool_choice;
  if (choice.kind == ToolChoice::Kind::kRequired && chat.tools.empty()) {
    throw HttpError(400, "'tool_choice' needs 'tools'", "tool_choice");
  }
  if (choice.kind != ToolChoice::Kind::kNamed) return;
  for (const Tool& tool : chat.tools) {
    if (tool.name == choice.name) return;
  }
  throw HttpError(400,
                  fmt::format("'tool_choice' names '{}', which is none of 'tools'", choice.name),
                  "tool_choice");
}

ChatRequest read_chat(const Json& body, const ServerConfig& config) {
  ChatRequest chat;
  for (const auto& [name, schema] : chat_members(config.limits)) {
    const auto found = body.find(name);
    if (found == body.end()) {
      if (name == "messages") throw HttpError(400, "'messages' is missing", "messages");
      continue;
    }
    if (name == "messages") check_count(*found, "messages", "messages", config.limits.messages);
    if (name == "tools") check_count(*found, "tools", "tools", config.limits.tools);
    check_schema(*found, schema, name);
  }
  size_t index = 0;
  for (const Json& message : body.at("messages")) {
    chat.messages.push_back(read_message(message, fmt::format("messages[{}]", index++)));
  }
  const Json tools = body.value("tools", Json());
  for (const Json& tool : tools.is_array() ? tools : Json::array()) {
    const Json& function = tool.at("function");
    chat.tools.push_back(make_tool(function.at("name"), text_of(function, "description"),
                                   function.value("parameters", Json()), config.limits));
  }
  if (const Json choice = body.value("tool_choice", Json()); !choice.is_null()) {
    chat.tool_choice = read_tool_choice(choice);
  }
  check_tool_choice(chat);
  const Json parallel = body.value("parallel_tool_calls", Json());
  chat.parallel_tool_calls = parallel.is_null() || parallel.get<bool>();
  const Json arguments = body.value("chat_template_kwargs", Json());
  if (!arguments.is_null()) chat.template_arguments = json_text(arguments);
  const Json reasoning = body.value("reasoning_format", Json());
  chat.split_reasoning = reasoning.is_null() || reasoning == "split";
  return chat;
}

}  // namespace lanner::server
