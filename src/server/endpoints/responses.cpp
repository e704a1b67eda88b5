// SPDX-License-Identifier: Apache-2.0
// POST /v1/responses: a conversation in, items out. Nothing is stored between requests.
#include <ctime>
#include <vector>

#include <fmt/format.h>

#include "server/chat_request.h"
#include "server/endpoints.h"
#include "server/endpoints/answers.h"
#include "server/generation.h"
#include "server/params.h"
#include "server/schema.h"
#include "server/sse.h"
#include "server/status.h"

namespace lanner::server {
namespace {

Json input_schema(const Limits& limits) {
  const Json part = object({{"type", one_of({"input_text", "output_text", "text"})},
                            {"text", text()},
                            {"annotations", list(any_object(), 0, 0)},
                            {"logprobs", list(any_object(), 0, 0)}},
                           {"type", "text"});
  const Json message = object({{"type", one_of({"message"})},
                               {"id", text()},
                               {"status", one_of({"completed"})},
                               {"role", one_of({"system", "developer", "user", "assistant"})},
                               {"content", any_of({text(), list(part, 1)})}},
                              {"role", "content"});
  const Json function_call = object({{"type", one_of({"function_call"})},
                                     {"id", nullable(text())},
                                     {"status", one_of({"completed"})},
                                     {"call_id", text(1)},
                                     {"name", text(1, 64)},
                                     {"arguments", text()}},
                                    {"type", "call_id", "name", "arguments"});
  const Json function_output =
      object({{"type", one_of({"function_call_output"})}, {"call_id", text(1)}, {"output", text()}},
             {"type", "call_id", "output"});
  return any_of(
      {text(1), list(any_of({message, function_call, function_output}), 1, limits.messages)});
}

std::vector<std::pair<std::string, Json>> members(const Limits& limits) {
  const Json tool = object({{"type", one_of({"function"})},
                            {"name", text(1, 64)},
                            {"description", nullable(text())},
                            {"parameters", nullable(any_object())},
                            {"strict", nullable(boolean())}},
                           {"type", "name"});
  const Json choice =
      any_of({one_of({"auto", "none", "required"}),
              object({{"type", one_of({"function"})}, {"name", text(1, 64)}}, {"type", "name"})});
  return {
      {"input", described(input_schema(limits), "The conversation so far, or one message")},
      {"instructions", described(nullable(text()), "A system message, put first")},
      {"tools", described(nullable(list(tool, 0, limits.tools)), "Functions the model may call")},
      {"tool_choice", described(nullable(choice), "Whether it calls them")},
      {"parallel_tool_calls", described(nullable(boolean()), "false: at most one call")},
      {"store", described(Json{{"type", {"boolean", "null"}}, {"enum", {false, nullptr}}},
                          "Only false: nothing is stored here")}};
}

std::string text_of(const Json& content) {
  if (content.is_string()) return content.get<std::string>();
  std::string text;
  for (const Json& part : content) text += part.at("text").get<std::string>();
  return text;
}

void read_input(const Json& input, ChatRequest& chat) {
  if (input.is_string()) {
    chat.messages.push_back({.role = "user", .content = input.get<std::string>()});
    return;
  }
  for (const Json& item : input) {
    const std::string type = item.value("type", "message");
    if (type == "function_call") {
      const ToolCall call{item.at("call_id"), item.at("name"), item.at("arguments")};
      if (!chat.messages.empty() && !chat.messages.back().tool_calls.empty()) {
        chat.messages.back().tool_calls.push_back(call);
      } else {
        chat.messages.push_back({.role = "assistant", .content = "", .tool_calls = {call}});
      }
    } else if (type == "function_call_output") {
      chat.messages.push_back({.role = "tool",
                               .content = item.at("output").get<std::string>(),
                               .tool_call_id = item.at("call_id").get<std::string>()});
    } else {
      const std::string role = item.at("role").get<std::string>();
      chat.messages.push_back(
          {.role = role == "developer" ? "system" : role, .content = text_of(item.at("content"))});
    }
  }
}

ChatRequest read_chat_of_response(const Json& body, const Limits& limits) {
  if (!body.contains("input")) throw HttpError(400, "'input' is missing", "input");
  for (const auto& [name, schema] : members(limits)) {
    const auto found = body.find(name);
    if (found == body.end()) continue;
    if (name == "input") check_count(*found, "input", "messages", limits.messages);
    if (name == "tools") check_count(*found, "tools", "tools", limits.tools);
    check_schema(*found, schema, name);
  }
  ChatRequest chat;
  if (const Json instructions = body.value("instructions", Json()); !instructions.is_null()) {
    chat.messages.push_back({.role = "system", .content = instructions.get<std::string>()});
  }
  read_input(body.at("input"), chat);
  const Json tools = body.value("tools", Json());
  for (const Json& tool : tools.is_array() ? tools : Json::array()) {
    const Json description = tool.value("description", Json());
    chat.tools.push_back(make_tool(tool.at("name"),
                                   description.is_null() ? "" : description.get<std::string>(),
                                   tool.value("parameters", Json()), limits));
  }
  const Json choice = body.value("tool_choice", Json());
  if (choice == "none") chat.tool_choice.kind = ToolChoice::Kind::kNone;
  if (choice == "required") chat.tool_choice.kind = ToolChoice::Kind::kRequired;
  if (choice.is_object()) {
    chat.tool_choice = {ToolChoice::Kind::kNamed, choice.at("name").get<std::string>()};
  }
  check_tool_choice(chat);
  const Json parallel = body.value("parallel_tool_calls", Json());
  chat.parallel_tool_calls = parallel.is_null() || parallel.get<bool>();
  return chat;
}

// A member, or the default where it is absent or null.
Json or_default(const Json& body, const char* name, Json otherwise) {
  const auto found = body.find(name);
  return found == body.end() || found->is_null() ? std::move(otherwise) : *found;
}

class ResponseFormatter final : public Formatter {
 public:
  ResponseFormatter(const ServedModel& model, const std::string& id, const Json& body) : id_(id) {
    head_ = Json{{"id", "resp_" + id},
                 {"object", "response"},
                 {"created_at", std::time(nullptr)},
                 {"status", "in_progress"},
                 {"model", model.name},
                 {"error", nullptr},
                 {"incomplete_details", nullptr},
                 {"instructions", body.value("instructions", Json())},
                 {"metadata", Json::object()},
                 {"parallel_tool_calls", or_default(body, "parallel_tool_calls", true)},
                 {"temperature", body.value("temperature", Json())},
                 {"top_p", body.value("top_p", Json())},
                 {"tool_choice", or_default(body, "tool_choice", "auto")},
                 {"tools", or_default(body, "tools", Json::array())},
                 {"output", Json::array()}};
  }

  std::string begin() override {
    std::string events = event("response.created", {{"response", head_}});
    return events += event("response.in_progress", {{"response", head_}});
  }

  std::string on_news(int, const News& news) override {
    std::string events;
    if (!news.content.empty()) {
      if (text_index_ < 0) events += begin_text();
      text_ += news.content;
      events += event("response.output_text.delta", {{"item_id", message_id()},
                                                     {"output_index", text_index_},
                                                     {"content_index", 0},
                                                     {"delta", news.content},
                                                     {"logprobs", Json::array()}});
    }
    for (const ToolCallDelta& delta : news.tool_calls) events += add_call(delta);
    if (!news.step.finished()) return events;
    finish_reason_ = news.step.finish_reason;
    if (text_index_ < 0 && calls_.empty()) events += begin_text();  // an empty answer is one too
    return events + end_items();
  }

  std::string end(const Usage& usage) override {
    const Json response = whole(usage);
    const bool incomplete = response.at("status") == "incomplete";
    return event(incomplete ? "response.incomplete" : "response.completed",
                 {{"response", response}});
  }

  Json result(const Usage& usage) override { return whole(usage); }

  std::string error(const HttpError& error) override {
    Json response = head_;
    response["status"] = "failed";
    response["error"] = {{"code", "server_error"}, {"message", error.what()}};
    return event("response.failed", {{"response", response}});
  }

 private:
  struct CallItem {
    ToolCallDelta call;
    int output_index;
  };

  std::string event(const char* type, Json json) {
    Json event = {{"type", type}, {"sequence_number", sequence_++}};
    event.update(json);
    return sse_event(type, json_text(event));
  }
  std::string message_id() const { return "msg_" + id_; }
  static Json text_part(const std::string& text) {
    return Json{{"type", "output_text"},
                {"text", text},
                {"annotations", Json::array()},
                {"logprobs", Json::array()}};
  }
  Json message_item(const char* status) const {
    Json content = Json::array();
    if (std::string(status) != "in_progress") content.push_back(text_part(text_));
    return Json{{"type", "message"},
                {"id", message_id()},
                {"status", status},
                {"role", "assistant"},
                {"content", std::move(content)}};
  }
  Json call_item(const CallItem& item, const char* status) const {
    return Json{
        {"type", "function_call"},          {"id", fmt::format("fc_{}_{}", id_, item.call.index)},
        {"call_id", item.call.id},          {"name", item.call.name},
        {"arguments", item.call.arguments}, {"status", status}};
  }

  std::string begin_text() {
    text_index_ = outputs_++;
    std::string events =
        event("response.output_item.added",
              {{"output_index", text_index_}, {"item", message_item("in_progress")}});
    return events += event("response.content_part.added", {{"item_id", message_id()},
                                                           {"output_index", text_index_},
                                                           {"content_index", 0},
                                                           {"part", text_part("")}});
  }

  std::string add_call(const ToolCallDelta& delta) {
    std::string events;
    const auto index = static_cast<size_t>(delta.index);
    while (calls_.size() <= index) {
      calls_.push_back(
          {{.index = static_cast<int>(calls_.size()), .id = delta.id, .name = delta.name},
           outputs_++});
      events +=
          event("response.output_item.added", {{"output_index", calls_.back().output_index},
                                               {"item", call_item(calls_.back(), "in_progress")}});
    }
    CallItem& item = calls_[index];
    item.call.arguments += delta.arguments;
    if (delta.arguments.empty()) return events;
    return events + event("response.function_call_arguments.delta",
                          {{"item_id", call_item(item, "in_progress").at("id")},
                           {"output_index", item.output_index},
                           {"delta", delta.arguments}});
  }

  std::string end_items() {
    std::string events;
    if (text_index_ >= 0) {
      const Json place = {
          {"item_id", message_id()}, {"output_index", text_index_}, {"content_index", 0}};
      Json done = place;
      done["text"] = text_;
      done["logprobs"] = Json::array();
      events += event("response.output_text.done", done);
      Json part = place;
      part["part"] = text_part(text_);
      events += event("response.content_part.done", part);
      events += event("response.output_item.done",
                      {{"output_index", text_index_}, {"item", message_item("completed")}});
    }
    for (const CallItem& item : calls_) {
      const Json json = call_item(item, "completed");
      events +=
          event("response.function_call_arguments.done", {{"item_id", json.at("id")},
                                                          {"output_index", item.output_index},
                                                          {"name", item.call.name},
                                                          {"arguments", item.call.arguments}});
      events +=
          event("response.output_item.done", {{"output_index", item.output_index}, {"item", json}});
    }
    return events;
  }

  Json whole(const Usage& usage) const {
    Json response = head_;
    const bool cut = finish_reason_ == FinishReason::kLength;
    response["status"] = cut ? "incomplete" : "completed";
    if (cut) response["incomplete_details"] = {{"reason", "max_output_tokens"}};
    std::vector<Json> items(static_cast<size_t>(outputs_));
    if (text_index_ >= 0) items[static_cast<size_t>(text_index_)] = message_item("completed");
    for (const CallItem& item : calls_) {
      items[static_cast<size_t>(item.output_index)] = call_item(item, "completed");
    }
    response["output"] = items;
    response["usage"] = {{"input_tokens", usage.prompt_tokens},
                         {"input_tokens_details", {{"cached_tokens", usage.cached_tokens}}},
                         {"output_tokens", usage.output_tokens},
                         {"output_tokens_details", {{"reasoning_tokens", 0}}},
                         {"total_tokens", usage.prompt_tokens + usage.output_tokens}};
    return response;
  }

  std::string id_;
  Json head_;
  int sequence_ = 0;
  int outputs_ = 0;
  int text_index_ = -1;
  std::string text_;
  std::vector<CallItem> calls_;
  FinishReason finish_reason_ = FinishReason::kNone;
};

}  // namespace

void handle_responses(const CallPtr& call) {
  App& app = call->app;
  const ServedModel model = app.model_of(call->body);
  GenerationParams params;
  params.sampling = model.model.llm->default_sampling_params();
  std::vector<std::string> own = {"model"};
  for (const auto& [name, schema] : members(app.limits())) own.push_back(name);
  read_params(call->body, kResponses, own, app.limits(), params);
  ChatRequest chat = read_chat_of_response(call->body, app.limits());
  chat.sampling = params.sampling;
  chat.lora = model.lora;
  note_request(*call, model, params);

  GenerationPlan plan = plan_for(model.model, params);
  plan.prompts.emplace_back([chat = std::move(chat)](LLM& llm, NewsCallback on_news) {
    return llm.submit_chat(chat, std::move(on_news));
  });
  plan.formatter = std::make_unique<ResponseFormatter>(model, call->exchange->id, call->body);
  Generation::start(call, std::move(plan));
}

Json responses_request_schema(const App& app) {
  Json own = {{"model", model_schema(app)}};
  for (auto& [name, schema] : members(app.limits())) own[name] = schema;
  return body_schema(kResponses, app.limits(), std::move(own), Json::array({"input"}));
}

Json responses_response_schema(const App&) {
  return Json{{"type", "object"},
              {"properties",
               {{"id", text(1)},
                {"object", one_of({"response"})},
                {"status", one_of({"completed", "incomplete"})},
                {"model", text(1)},
                {"output", list(any_object(), 1)}}},
              {"required", {"id", "object", "status", "model", "output", "usage"}}};
}

}  // namespace lanner::server
