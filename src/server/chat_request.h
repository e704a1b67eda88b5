// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "lanner/chat.h"
#include "server/config.h"

namespace lanner::server {

// The members of a body that make up a conversation: messages, tools, tool_choice, …
std::vector<std::pair<std::string, Json>> chat_members(const Limits& limits);

// Reads them. Throws HttpError(400) naming the member.
ChatRequest read_chat(const Json& body, const ServerConfig& config);

// Throws HttpError(400) of the limit for a list with more entries than it allows; `param` names it.
void check_count(const Json& value, const char* param, const char* limit, int64_t most);

// parameters: the tool's JSON schema, or null. Throws HttpError(400) where it is too large.
Tool make_tool(std::string name, std::string description, const Json& parameters,
               const Limits& limits);

// Throws HttpError(400) where tool_choice wants a tool that is not there.
void check_tool_choice(const ChatRequest& chat);

}  // namespace lanner::server
