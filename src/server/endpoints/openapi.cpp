// SPDX-License-Identifier: Apache-2.0
// GET /openapi.json, made of the table of routes and their schemas.
#include <cctype>
#include <string>

#include "server/endpoints.h"
#include "server/routes.h"
#include "server/schema.h"
#include "server/status.h"

namespace lanner::server {
namespace {

struct ErrorRow {
  const char* status;
  const char* meaning;
};

Json error_response(const char* meaning) {
  return {
      {"description", meaning},
      {"content", {{"application/json", {{"schema", {{"$ref", "#/components/schemas/Error"}}}}}}}};
}

Json error_schema() {
  const Json error = {{"type", "object"},
                      {"properties",
                       {{"message", text()},
                        {"type", text()},
                        {"param", nullable(text())},
                        {"code", nullable(text())}}},
                      {"required", {"message", "type", "param", "code"}}};
  return object({{"error", error}}, {"error"});
}

Json responses_of(const Route& route, const App& app) {
  constexpr ErrorRow kErrors[] = {
      {"400", "The request is malformed, or a member of it is out of its range"},
      {"404", "There is no such model"},
      {"413", "The body is beyond a limit"},
      {"415", "The body is no JSON"},
      {"429", "The client has too many requests under way"},
      {"500", "The server failed"},
      {"503", "The server is loading, full or stopping"},
  };
  Json good = {{"description", "The answer"}};
  good["content"][route.response_type]["schema"] =
      route.response_schema != nullptr ? route.response_schema(app) : Json{{"type", "string"}};
  if (route.streams) {
    // OpenAPI 3.1 has no words for a sequence: tools take the schema for the whole or for an event.
    good["content"]["text/event-stream"]["schema"] = {
        {"description", "Server-sent events as the answer comes, if \"stream\" is true"}};
  }
  Json responses = {{"200", std::move(good)}};
  for (const ErrorRow& row : kErrors) {
    const std::string status = row.status;
    const bool of_body = status == "400" || status == "413" || status == "415" || status == "429";
    const bool of_model = status == "404";
    if (of_body && route.request_schema == nullptr) continue;
    if (of_model && route.request_schema == nullptr &&
        std::string(route.path).find('{') == std::string::npos) {
      continue;
    }
    responses[status] = error_response(row.meaning);
  }
  if (std::string(route.path) == "/health") {
    responses["503"] = responses["200"];
    responses["503"]["description"] = "Loading or draining";
  }
  if (route.access == Access::kKey) responses["401"] = error_response("A valid API key is needed");
  return responses;
}

Json operation(const Route& route, const App& app) {
  Json operation = {{"summary", route.summary}, {"operationId", ""}};
  std::string id = route.method;
  for (char& c : id) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  for (const char c : std::string(route.path))
    id += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  operation["operationId"] = id;
  const std::string path = route.path;
  if (const size_t open = path.find('{'); open != std::string::npos) {
    operation["parameters"] =
        Json::array({{{"name", path.substr(open + 1, path.find('}') - open - 1)},
                      {"in", "path"},
                      {"required", true},
                      {"schema", {{"type", "string"}, {"enum", app.model_names()}}}}});
  }
  if (route.request_schema != nullptr) {
    operation["requestBody"] = {
        {"required", true},
        {"content", {{"application/json", {{"schema", route.request_schema(app)}}}}}};
  }
  operation["responses"] = responses_of(route, app);
  if (route.access == Access::kPublic) operation["security"] = Json::array();
  return operation;
}

}  // namespace

void handle_openapi(const CallPtr& call) {
  const App& app = call->app;
  Json paths = Json::object();
  for (const Route& route : routes()) {
    std::string method = route.method;
    for (char& c : method) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    paths[route.path][method] = operation(route, app);
  }
  call->respond(
      {{"openapi", "3.1.0"},
       {"info",
        {{"title", "Lanner"},
         {"version", app.config().version},
         {"description", "Large language models on CPUs, in the shape of OpenAI's API."}}},
       {"security", Json::array({{{"key", Json::array()}}, Json::object()})},
       {"paths", std::move(paths)},
       {"components",
        {{"schemas", {{"Error", error_schema()}}},
         {"securitySchemes", {{"key", {{"type", "http"}, {"scheme", "bearer"}}}}}}}});
}

Json openapi_response_schema(const App&) { return any_object(); }

}  // namespace lanner::server
