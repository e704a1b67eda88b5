// SPDX-License-Identifier: Apache-2.0
// GET /v1/models, GET /v1/models/{model}
#include <algorithm>

#include "server/endpoints.h"
#include "server/schema.h"
#include "server/status.h"

namespace lanner::server {
namespace {

// Of the model itself, or with the adapter `lora`.
Json model_json(const Model& model, const std::string& lora) {
  Json json = {{"id", lora.empty() ? model.source.name : lora},
               {"object", "model"},
               {"created", model.created},
               {"owned_by", "lanner"},
               {"parent", lora.empty() ? Json(nullptr) : Json(model.source.name)},
               {"ready", model.ready.load()}};
  if (model.ready) {
    json["max_context"] = model.llm->max_context();
    json["has_chat_template"] = model.llm->has_chat_template();
    const SamplingParams defaults = model.llm->default_sampling_params();
    json["defaults"] = {{"temperature", defaults.temperature},
                        {"top_k", defaults.top_k},
                        {"top_p", defaults.top_p},
                        {"min_p", defaults.min_p},
                        {"repetition_penalty", defaults.repetition_penalty}};
  }
  return json;
}

}  // namespace

void handle_models(const CallPtr& call) {
  Json list = Json::array();
  for (const auto& model : call->app.models()) {
    list.push_back(model_json(*model, {}));
    for (const std::string& lora : model->lora) list.push_back(model_json(*model, lora));
  }
  call->respond({{"object", "list"}, {"data", std::move(list)}});
}

void handle_model(const CallPtr& call) {
  for (const auto& model : call->app.models()) {
    if (model->source.name == call->argument) return call->respond(model_json(*model, {}));
    if (std::ranges::find(model->lora, call->argument) != model->lora.end()) {
      return call->respond(model_json(*model, call->argument));
    }
  }
  throw HttpError(404, "there is no model '" + call->argument + "' here", "model",
                  "model_not_found");
}

Json model_response_schema(const App&) {
  return Json{{"type", "object"},
              {"properties",
               {{"id", text(1)},
                {"object", one_of({"model"})},
                {"created", integer(0, INT64_MAX)},
                {"owned_by", text()},
                {"parent", nullable(text(1))},
                {"ready", boolean()},
                {"max_context", integer(1, INT32_MAX)}}},
              {"required", {"id", "object", "created", "owned_by", "parent", "ready"}}};
}

Json models_response_schema(const App& app) {
  return Json{
      {"type", "object"},
      {"properties", {{"object", one_of({"list"})}, {"data", list(model_response_schema(app), 1)}}},
      {"required", {"object", "data"}}};
}

}  // namespace lanner::server
