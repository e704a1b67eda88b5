// SPDX-License-Identifier: Apache-2.0
// GET /health, GET /metrics, GET /version
#include <string>

#include "server/endpoints.h"
#include "server/schema.h"

namespace lanner::server {

void handle_health(const CallPtr& call) {
  const std::string state = call->app.state();
  HttpResponse response{.status = state == "ready" ? 200 : 503,
                        .headers = {{"Cache-Control", "no-store"}},
                        .body = Json{{"status", state}}.dump()};
  if (response.status == 503) response.headers.emplace_back("Retry-After", "1");
  call->exchange->respond(std::move(response));
}

Json health_response_schema(const App&) {
  return object({{"status", one_of({"ready", "loading", "draining"})}}, {"status"});
}

void handle_metrics(const CallPtr& call) {
  call->exchange->respond({.content_type = "text/plain; version=0.0.4; charset=utf-8",
                           .headers = {{"Cache-Control", "no-store"}},
                           .body = call->app.metrics_text()});
}

void handle_version(const CallPtr& call) {
  call->respond({{"name", "lanner"}, {"version", call->app.config().version}});
}

Json version_response_schema(const App&) {
  return object({{"name", one_of({"lanner"})}, {"version", text()}}, {"name", "version"});
}

}  // namespace lanner::server
