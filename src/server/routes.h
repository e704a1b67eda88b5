// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "base/json.h"

namespace lanner::server {

class App;
struct Call;

enum class Access {
  kPublic,  // without an API key
  kKey,
};
enum class Runs {
  kOnIo,      // answers at once from what is in memory
  kOnWorker,  // parses a body, works on text
};

// An endpoint: the router, the test that walks it and the OpenAPI document all read this table.
struct Route {
  const char* method;
  const char* path;  // `{name}` at the end stands for the rest of the path
  Access access;
  Runs runs;
  // Answers through call->exchange, now or later; what it throws is answered as an error.
  void (*handle)(const std::shared_ptr<Call>& call);
  const char* summary;
  // JSON schemas of the body and of the answer; nullptr: none, or no JSON.
  Json (*request_schema)(const App& app);
  Json (*response_schema)(const App& app);
  const char* response_type = "application/json";
  bool streams = false;  // answers with events if the body has "stream": true
};

std::span<const Route> routes();

struct RouteMatch {
  const Route* route = nullptr;  // nullptr: none with this method
  std::string argument;
  std::string allowed;  // methods of the path, "" if it is unknown
};
RouteMatch find_route(std::string_view method, std::string_view path);

}  // namespace lanner::server
