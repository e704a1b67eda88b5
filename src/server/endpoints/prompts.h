// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/json.h"

namespace lanner::server {

// A text, or its token ids.
using Prompt = std::variant<std::string, std::vector<int32_t>>;

// A string, a list of strings, a list of token ids or a list of such lists; at most `most`.
Json prompts_schema(int64_t most);

// Reads the member `name` of a body. Throws HttpError(400) naming it, or the limit that it is
// beyond.
std::vector<Prompt> read_prompts(const Json& body, const char* name, const char* limit,
                                 int64_t most);

}  // namespace lanner::server
