// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "lanner/chat.h"

namespace lanner {

// The variables of a chat template as JSON text, in the form that templates published with models
// expect (HF's): arguments of tool calls are objects, not text, and what a message does not have is
// left out, since templates ask "is defined". Both throw Error(kInvalidArgument) naming the message
// or tool that is malformed.

// A list of messages. Parts of a content are joined by newlines.
std::string messages_json(const std::vector<ChatMessage>& messages);
// A list of {"type": "function", "function": {"name", "description", "parameters"}}; "" for no
// tools.
std::string tools_json(const std::vector<Tool>& tools);

}  // namespace lanner
