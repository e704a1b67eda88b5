// SPDX-License-Identifier: Apache-2.0
// POST /v1/chat/completions
#include <ctime>
#include <vector>

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

Json tool_calls_json(const std::vector<ToolCallDelta>& calls, bool with_index) {
  Json list = Json::array();
  for (const ToolCallDelta& call : calls) {
    Json json;
    if (with_index) json["index"] = call.index;
    if (!call.id.empty()) {
      json["id"] = call.id;
      json["type"] = "function";
    }
    if (!call.name.empty()) json["function"]["name"] = call.name;
    json["function"]["arguments"] = call.arguments;
    list.push_back(std::move(json));
  }
  return list;
}

class ChatFormatter final : public Formatter {
 public:
  ChatFormatter(const ServedModel& model, const GenerationParams& params, const std::string& id)
      : answers_(static_cast<size_t>(params.sampling.n)), include_usage_(params.include_usage) {
    head_ = Json{{"id", "chatcmpl-" + id},
                 {"object", "chat.completion"},
                 {"created", std::time(nullptr)},
                 {"model", model.name}};
  }

  std::string on_news(int answer, const News& news) override {
    Answer& to = answers_[static_cast<size_t>(answer)];
    add(to, news);
    Json delta = Json::object();
    if (!to.begun) {
      to.begun = true;
      delta["role"] = "assistant";
      delta["content"] = "";
    }
    if (!news.reasoning.empty()) delta["reasoning_content"] = news.reasoning;
    if (!news.content.empty()) delta["content"] = news.content;
    if (!news.tool_calls.empty()) delta["tool_calls"] = tool_calls_json(news.tool_calls, true);
    std::string events;
    Json logprobs = chat_logprobs(news.step);
    if (!delta.empty() || !logprobs.is_null()) {
      events += event(answer, std::move(delta), std::move(logprobs), nullptr);
    }
    if (news.step.finished()) {
      events += event(answer, Json::object(), nullptr, finish_reason_text(news.step.finish_reason));
    }
    return events;
  }

  std::string end(const Usage& usage) override {
    std::string events;
    if (include_usage_) {
      Json json = chunk();
      json["choices"] = Json::array();
      json["usage"] = usage_json(usage);
      events = sse_data(json_text(json));
    }
    return events + kSseDone;
  }

  Json result(const Usage& usage) override {
    Json json = head_;
    json["choices"] = Json::array();
    for (size_t i = 0; i < answers_.size(); ++i) json["choices"].push_back(choice(i));
    json["usage"] = usage_json(usage);
    return json;
  }

 private:
  struct Answer {
    bool begun = false;
    std::string content;
    std::string reasoning;
    std::vector<ToolCallDelta> tool_calls;
    Json logprobs;
    FinishReason finish_reason = FinishReason::kNone;
  };

  static void add(Answer& to, const News& news) {
    to.content += news.content;
    to.reasoning += news.reasoning;
    for (const ToolCallDelta& delta : news.tool_calls) {
      const auto index = static_cast<size_t>(delta.index);
      if (to.tool_calls.size() <= index) to.tool_calls.resize(index + 1);
      ToolCallDelta& call = to.tool_calls[index];
      call.id += delta.id;
      call.name += delta.name;
      call.arguments += delta.arguments;
    }
    append_logprobs(to.logprobs, chat_logprobs(news.step));
    to.finish_reason = news.step.finish_reason;
  }

  Json choice(size_t index) const {
    const Answer& answer = answers_[index];
    Json message = {{"role", "assistant"}};
    message["content"] =
        answer.content.empty() && !answer.tool_calls.empty() ? Json(nullptr) : Json(answer.content);
    message["refusal"] = nullptr;
    if (!answer.reasoning.empty()) message["reasoning_content"] = answer.reasoning;
    if (!answer.tool_calls.empty())
      message["tool_calls"] = tool_calls_json(answer.tool_calls, false);
    return Json{{"index", index},
                {"message", std::move(message)},
                {"logprobs", answer.logprobs},
                {"finish_reason", finish_reason_text(answer.finish_reason)}};
  }

  Json chunk() const {
    Json json = head_;
    json["object"] = "chat.completion.chunk";
    return json;
  }

  std::string event(int answer, Json delta, Json logprobs, const Json& finish_reason) const {
    Json json = chunk();
    json["choices"] = Json::array({Json{{"index", answer},
                                        {"delta", std::move(delta)},
                                        {"logprobs", std::move(logprobs)},
                                        {"finish_reason", finish_reason}}});
    if (include_usage_) json["usage"] = nullptr;
    return sse_data(json_text(json));
  }

  Json head_;
  std::vector<Answer> answers_;
  bool include_usage_;
};

}  // namespace

void handle_chat_completions(const CallPtr& call) {
  App& app = call->app;
  const ServedModel model = app.model_of(call->body);
  GenerationParams params;
  params.sampling = model.model.llm->default_sampling_params();
  std::vector<std::string> own = {"model"};
  for (const auto& [name, schema] : chat_members(app.limits())) own.push_back(name);
  read_params(call->body, kChat, own, app.limits(), params);
  ChatRequest chat = read_chat(call->body, app.config());
  chat.sampling = params.sampling;
  chat.lora = model.lora;
  note_request(*call, model, params);

  GenerationPlan plan = plan_for(model.model, params);
  plan.prompts.emplace_back([chat = std::move(chat)](LLM& llm, NewsCallback on_news) {
    return llm.submit_chat(chat, std::move(on_news));
  });
  plan.formatter = std::make_unique<ChatFormatter>(model, params, call->exchange->id);
  Generation::start(call, std::move(plan));
}

Json chat_request_schema(const App& app) {
  Json members = {{"model", model_schema(app)}};
  for (auto& [name, schema] : chat_members(app.limits())) members[name] = schema;
  return body_schema(kChat, app.limits(), std::move(members), Json::array({"messages"}));
}

Json chat_response_schema(const App&) {
  const Json message = Json{{"type", "object"},
                            {"properties",
                             {{"role", one_of({"assistant"})},
                              {"content", nullable(text())},
                              {"reasoning_content", text()},
                              {"tool_calls", list(any_object())}}},
                            {"required", {"role", "content"}}};
  return answer_schema("chat.completion", {{"message", message}});
}

}  // namespace lanner::server
