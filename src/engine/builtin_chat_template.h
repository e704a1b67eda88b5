// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "base/json.h"
#include "text/tokenizer.h"

namespace lanner {

// The Jinja template of a family whose published folders have code instead of one: ChatGLM-6B,
// ChatGLM2, ChatGLM3, Baichuan 1 and 2, Qwen 1 (docs/models_notes.md shows them). Nothing for other
// families. config: config.json; anything in it but what is looked for is left alone.
std::optional<std::string> builtin_chat_template(const Json& config, const Tokenizer& tokenizer);

}  // namespace lanner
