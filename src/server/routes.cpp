// SPDX-License-Identifier: Apache-2.0
#include "server/routes.h"

#include <cctype>

#include "server/endpoints.h"

namespace lanner::server {
namespace {

constexpr Route kRoutes[] = {
    {"GET", "/", Access::kKey, Runs::kOnIo, handle_page, "The chat page", nullptr, nullptr,
     "text/html"},
    {"GET", "/chat.js", Access::kKey, Runs::kOnIo, handle_page_script, "Its script", nullptr,
     nullptr, "text/javascript"},
    {"GET", "/chat.css", Access::kKey, Runs::kOnIo, handle_page_style, "Its style", nullptr,
     nullptr, "text/css"},
    {"GET", "/health", Access::kPublic, Runs::kOnIo, handle_health, "Ready, loading or draining",
     nullptr, health_response_schema},
    {"GET", "/metrics", Access::kKey, Runs::kOnIo, handle_metrics, "Metrics for Prometheus",
     nullptr, nullptr, "text/plain"},
    {"GET", "/version", Access::kKey, Runs::kOnIo, handle_version, "Name and version", nullptr,
     version_response_schema},
    {"GET", "/openapi.json", Access::kKey, Runs::kOnIo, handle_openapi, "This document", nullptr,
     openapi_response_schema},
    {"GET", "/v1/models", Access::kKey, Runs::kOnIo, handle_models, "The models that are served",
     nullptr, models_response_schema},
    {"GET", "/v1/models/{model}", Access::kKey, Runs::kOnIo, handle_model, "One of them", nullptr,
     model_response_schema},
    {"POST", "/v1/chat/completions", Access::kKey, Runs::kOnWorker, handle_chat_completions,
     "The next message of a conversation", chat_request_schema, chat_response_schema,
     "application/json", /*streams=*/true},
    {"POST", "/v1/completions", Access::kKey, Runs::kOnWorker, handle_completions,
     "The continuation of a text", completions_request_schema, completions_response_schema,
     "application/json", /*streams=*/true},
    {"POST", "/v1/responses", Access::kKey, Runs::kOnWorker, handle_responses,
     "The next message, in the shape of the Responses API", responses_request_schema,
     responses_response_schema, "application/json", /*streams=*/true},
    {"POST", "/v1/embeddings", Access::kKey, Runs::kOnWorker, handle_embeddings,
     "A vector for each text", embeddings_request_schema, embeddings_response_schema},
    {"POST", "/tokenize", Access::kKey, Runs::kOnWorker, handle_tokenize, "The tokens of a text",
     tokenize_request_schema, tokenize_response_schema},
    {"POST", "/detokenize", Access::kKey, Runs::kOnWorker, handle_detokenize, "The text of tokens",
     detokenize_request_schema, detokenize_response_schema},
    {"POST", "/apply-template", Access::kKey, Runs::kOnWorker, handle_apply_template,
     "The prompt that the chat template makes", apply_template_request_schema,
     apply_template_response_schema},
};

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

std::string percent_decoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool coded = text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 &&
                       hex_digit(text[i + 2]) >= 0;
    out +=
        coded ? static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2])) : text[i];
    if (coded) i += 2;
  }
  return out;
}

}  // namespace

std::span<const Route> routes() { return kRoutes; }

RouteMatch find_route(std::string_view method, std::string_view path) {
  RouteMatch match;
  for (const Route& route : kRoutes) {
    const std::string_view pattern = route.path;
    const size_t open = pattern.find('{');
    const bool fits = open == std::string_view::npos
                          ? path == pattern
                          : path.size() > open && path.starts_with(pattern.substr(0, open));
    if (!fits) continue;
    match.allowed += (match.allowed.empty() ? "" : ", ") + std::string(route.method);
    const bool head = method == "HEAD" && std::string_view(route.method) == "GET";
    if (method != route.method && !head) continue;
    match.route = &route;
    if (open != std::string_view::npos) match.argument = percent_decoded(path.substr(open));
  }
  return match;
}

}  // namespace lanner::server
