// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/answers.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/utf8.h"
#include "server/endpoints.h"
#include "server/schema.h"
#include "server/sse.h"

namespace lanner::server {

GenerationPlan plan_for(Model& model, const GenerationParams& params) {
  GenerationPlan plan;
  plan.model = &model;
  const SamplingParams& sampling = params.sampling;
  plan.answers_per_prompt = sampling.n;
  plan.slots_per_prompt = std::max(sampling.best_of.value_or(sampling.n), sampling.beam_width);
  plan.stream = params.stream;
  return plan;
}

void note_request(const Call& call, const ServedModel& model, const GenerationParams& params) {
  call.exchange->log_fields += fmt::format(",\"model\":{}", json_text(model.name));
  if (!params.user.empty()) call.exchange->log_fields += ",\"user\":" + json_text(params.user);
}

Json usage_json(const Usage& usage) {
  return Json{{"prompt_tokens", usage.prompt_tokens},
              {"completion_tokens", usage.output_tokens},
              {"total_tokens", usage.prompt_tokens + usage.output_tokens},
              {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}}};
}

namespace {

Json bytes_json(const std::string& bytes) {
  Json list = Json::array();
  for (const char c : bytes) list.push_back(static_cast<unsigned char>(c));
  return list;
}

Json token_json(const TokenLogprob& token) {
  return Json{{"token", utf8_or_escapes(token.bytes)},
              {"logprob", token.logprob},
              {"bytes", bytes_json(token.bytes)}};
}

}  // namespace

Json chat_logprobs(const RequestOutput& step) {
  if (step.logprobs.empty()) return nullptr;
  Json content = Json::array();
  for (const PositionLogprobs& position : step.logprobs) {
    Json entry = token_json(position.token);
    entry["top_logprobs"] = Json::array();
    for (const TokenLogprob& token : position.top)
      entry["top_logprobs"].push_back(token_json(token));
    content.push_back(std::move(entry));
  }
  return Json{{"content", std::move(content)}, {"refusal", nullptr}};
}

Json completion_logprobs(const std::vector<PositionLogprobs>& positions, bool is_prompt,
                         int64_t& text_offset) {
  if (positions.empty()) return nullptr;
  Json tokens = Json::array();
  Json logprobs = Json::array();
  Json top = Json::array();
  Json offsets = Json::array();
  bool first = is_prompt;
  for (const PositionLogprobs& position : positions) {
    tokens.push_back(utf8_or_escapes(position.token.bytes));
    offsets.push_back(text_offset);
    text_offset += static_cast<int64_t>(position.token.bytes.size());
    // Nothing comes before a prompt's first token, so nothing made it likely.
    logprobs.push_back(std::exchange(first, false) ? Json(nullptr) : Json(position.token.logprob));
    Json best = Json::object();
    for (const TokenLogprob& token : position.top)
      best[utf8_or_escapes(token.bytes)] = token.logprob;
    top.push_back(best.empty() ? Json(nullptr) : std::move(best));
  }
  return Json{{"tokens", std::move(tokens)},
              {"token_logprobs", std::move(logprobs)},
              {"top_logprobs", std::move(top)},
              {"text_offset", std::move(offsets)}};
}

void append_logprobs(Json& all, Json more) {
  if (more.is_null()) return;
  if (all.is_null()) {
    all = std::move(more);
    return;
  }
  for (Json& entry : more["content"]) all["content"].push_back(std::move(entry));
}

void append_completion_logprobs(Json& all, const Json& more) {
  if (more.is_null()) return;
  if (all.is_null()) {
    all = more;
    return;
  }
  for (const auto& [name, entries] : more.items()) {
    for (const Json& entry : entries) all[name].push_back(entry);
  }
}

Json model_schema(const App& app) {
  return described(nullable(one_of(app.model_names())),
                   "Which model, or which adapter of one; none: the first one of /v1/models");
}

Json usage_schema() {
  return Json{{"type", "object"},
              {"properties",
               {{"prompt_tokens", integer(0, INT32_MAX)},
                {"completion_tokens", integer(0, INT32_MAX)},
                {"total_tokens", integer(0, INT32_MAX)}}},
              {"required", {"prompt_tokens", "total_tokens"}}};
}

Json answer_schema(const char* object, Json members) {
  members["index"] = integer(0, INT32_MAX);
  members["finish_reason"] = one_of({"stop", "length", "tool_calls"});
  Json names = Json::array();
  for (const auto& [name, schema] : members.items()) names.push_back(name);
  const Json choice = {{"type", "object"}, {"properties", members}, {"required", names}};
  return Json{{"type", "object"},
              {"properties",
               {{"id", text(1)},
                {"object", one_of({object})},
                {"created", integer(0, INT64_MAX)},
                {"model", text(1)},
                {"choices", list(choice, 1)},
                {"usage", usage_schema()}}},
              {"required", {"id", "object", "created", "model", "choices", "usage"}}};
}

}  // namespace lanner::server
