// SPDX-License-Identifier: Apache-2.0
#include "server/endpoints/prompts.h"

#include <fmt/format.h>

#include "server/schema.h"
#include "server/status.h"

namespace lanner::server {
namespace {

std::vector<int32_t> token_ids(const Json& list) {
  std::vector<int32_t> ids;
  ids.reserve(list.size());
  for (const Json& id : list) ids.push_back(to_int(id));
  return ids;
}

}  // namespace

Json prompts_schema(int64_t most) {
  const Json ids = list(integer(0, INT32_MAX), 1);
  return any_of({text(1), list(text(1), 1, most), ids, list(ids, 1, most)});
}

std::vector<Prompt> read_prompts(const Json& body, const char* name, const char* limit,
                                 int64_t most) {
  const auto found = body.find(name);
  if (found == body.end()) throw HttpError(400, fmt::format("'{}' is missing", name), name);
  const Json& prompt = *found;
  const bool many = prompt.is_array() && !prompt.empty() && !prompt[0].is_number();
  if (many && static_cast<int64_t>(prompt.size()) > most) {
    throw HttpError::limit(
        400, limit, fmt::format("{} {}, at most {} are allowed", prompt.size(), limit, most), name);
  }
  check_schema(prompt, prompts_schema(most), name);
  if (prompt.is_string()) return {prompt.get<std::string>()};
  if (!many) return {token_ids(prompt)};
  std::vector<Prompt> prompts;
  for (const Json& one : prompt) {
    prompts.push_back(one.is_string() ? Prompt(one.get<std::string>()) : Prompt(token_ids(one)));
  }
  return prompts;
}

}  // namespace lanner::server
