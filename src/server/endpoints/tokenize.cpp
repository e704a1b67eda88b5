// SPDX-License-Identifier: Apache-2.0
// POST /tokenize, POST /detokenize, POST /apply-template
#include "server/chat_request.h"
#include "server/endpoints.h"
#include "server/schema.h"
#include "server/status.h"

namespace lanner::server {
namespace {

bool flag(const Json& body, const char* name, bool otherwise) {
  const auto found = body.find(name);
  return found == body.end() || found->is_null() ? otherwise : found->get<bool>();
}

}  // namespace

void handle_tokenize(const CallPtr& call) {
  const ServedModel model = call->app.model_of(call->body);
  check_schema(call->body, tokenize_request_schema(call->app), "");
  const std::vector<int32_t> ids = model.model.llm->tokenize(
      call->body.at("text").get<std::string>(), flag(call->body, "add_special_tokens", true));
  call->respond({{"model", model.name}, {"count", ids.size()}, {"tokens", ids}});
}

void handle_detokenize(const CallPtr& call) {
  const ServedModel model = call->app.model_of(call->body);
  check_schema(call->body, detokenize_request_schema(call->app), "");
  std::vector<int32_t> ids;
  for (const Json& id : call->body.at("tokens")) ids.push_back(to_int(id));
  call->respond(
      {{"model", model.name},
       {"text", model.model.llm->detokenize(ids, flag(call->body, "skip_special_tokens", true))}});
}

void handle_apply_template(const CallPtr& call) {
  const ServedModel model = call->app.model_of(call->body);
  check_schema(call->body, apply_template_request_schema(call->app), "");
  ChatRequest chat = read_chat(call->body, call->app.config());
  chat.add_generation_prompt = flag(call->body, "add_generation_prompt", true);
  call->respond({{"model", model.name}, {"prompt", model.model.llm->render(chat)}});
}

Json tokenize_request_schema(const App& app) {
  return object({{"model", model_schema(app)},
                 {"text", described(text(), "The text")},
                 {"add_special_tokens",
                  described(nullable(boolean()), "With what the tokenizer adds, e.g. <s>")}},
                {"text"});
}

Json tokenize_response_schema(const App&) {
  return Json{{"type", "object"},
              {"properties",
               {{"model", text(1)},
                {"count", integer(0, INT32_MAX)},
                {"tokens", list(integer(0, INT32_MAX))}}},
              {"required", {"model", "count", "tokens"}}};
}

Json detokenize_request_schema(const App& app) {
  return object({{"model", model_schema(app)},
                 {"tokens", described(list(integer(0, INT32_MAX)), "Token ids")},
                 {"skip_special_tokens", described(nullable(boolean()), "Leave out e.g. <s>")}},
                {"tokens"});
}

Json detokenize_response_schema(const App&) {
  return Json{{"type", "object"},
              {"properties", {{"model", text(1)}, {"text", text()}}},
              {"required", {"model", "text"}}};
}

Json apply_template_request_schema(const App& app) {
  auto members = chat_members(app.limits());
  members.insert(members.begin(), {"model", model_schema(app)});
  members.emplace_back("add_generation_prompt",
                       described(nullable(boolean()), "End where an answer starts"));
  return object(std::move(members), {"messages"});
}

Json apply_template_response_schema(const App&) {
  return Json{{"type", "object"},
              {"properties", {{"model", text(1)}, {"prompt", text()}}},
              {"required", {"model", "prompt"}}};
}

}  // namespace lanner::server
