// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/json.h"
#include "server/app.h"
#include "server/generation.h"
#include "server/params.h"

namespace lanner::server {

// What the generating endpoints share.

GenerationPlan plan_for(Model& model, const GenerationParams& params);
// Into the access log.
void note_request(const Call& call, const ServedModel& model, const GenerationParams& params);
Json usage_json(const Usage& usage);

// {"content": [...]} of the step's tokens, or null where none were asked for.
Json chat_logprobs(const RequestOutput& step);
void append_logprobs(Json& all, Json more);
// The older shape of the completions endpoint: four lists. text_offset goes on from step to step.
Json completion_logprobs(const std::vector<PositionLogprobs>& positions, bool is_prompt,
                         int64_t& text_offset);
void append_completion_logprobs(Json& all, const Json& more);

// The schema of an answer with choices; `members` are those of a choice besides the common ones.
Json answer_schema(const char* object, Json members);

}  // namespace lanner::server
