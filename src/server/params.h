// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "lanner/sampling_params.h"
#include "server/limits.h"

namespace lanner::server {

enum Endpoint : unsigned {
  kCompletions = 1,
  kChat = 2,
  kResponses = 4,
  kEveryGeneration = kCompletions | kChat | kResponses,
};

// What the parameters of a request say, besides its model and prompt.
struct GenerationParams {
  SamplingParams sampling;  // begins as the model's defaults
  bool stream = false;
  bool include_usage = false;
  bool echo = false;
  bool logprobs = false;  // of the chat endpoints, where top_logprobs says how many
  int top_logprobs = 0;
  bool beam_search = false;
  std::string user;
};

// A member of a request's body.
struct ParamRow {
  const char* name;
  unsigned endpoints;
  Json (*schema)(const Limits& limits);
  const char* meaning;
  // The value fits the schema's type and range.
  void (*apply)(const Json& value, GenerationParams& params, const Limits& limits);
  const char* limit = nullptr;  // on the value, or on the entries of a list or an object
};
std::span<const ParamRow> params();

// Reads every member of the body but `own` ones, which the endpoint reads itself. null counts as
// absent. Throws HttpError(400) naming a member that is unknown or out of its range.
void read_params(const Json& body, Endpoint endpoint, const std::vector<std::string>& own,
                 const Limits& limits, GenerationParams& params);

// The schema of a body: the rows of the endpoint and its own members.
Json body_schema(Endpoint endpoint, const Limits& limits, Json own_members, const Json& required);

}  // namespace lanner::server
