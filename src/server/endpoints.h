// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "base/json.h"
#include "server/app.h"

// One function per endpoint, one file each in endpoints/; routes.cpp says which is which.
namespace lanner::server {

using CallPtr = std::shared_ptr<Call>;

void handle_chat_completions(const CallPtr& call);
Json chat_request_schema(const App& app);
Json chat_response_schema(const App& app);

void handle_completions(const CallPtr& call);
Json completions_request_schema(const App& app);
Json completions_response_schema(const App& app);

void handle_responses(const CallPtr& call);
Json responses_request_schema(const App& app);
Json responses_response_schema(const App& app);

void handle_embeddings(const CallPtr& call);
Json embeddings_request_schema(const App& app);
Json embeddings_response_schema(const App& app);

void handle_models(const CallPtr& call);
void handle_model(const CallPtr& call);
Json models_response_schema(const App& app);
Json model_response_schema(const App& app);

void handle_tokenize(const CallPtr& call);
Json tokenize_request_schema(const App& app);
Json tokenize_response_schema(const App& app);
void handle_detokenize(const CallPtr& call);
Json detokenize_request_schema(const App& app);
Json detokenize_response_schema(const App& app);
void handle_apply_template(const CallPtr& call);
Json apply_template_request_schema(const App& app);
Json apply_template_response_schema(const App& app);

void handle_health(const CallPtr& call);
Json health_response_schema(const App& app);
void handle_metrics(const CallPtr& call);
void handle_version(const CallPtr& call);
Json version_response_schema(const App& app);
void handle_openapi(const CallPtr& call);
Json openapi_response_schema(const App& app);

void handle_page(const CallPtr& call);
void handle_page_script(const CallPtr& call);
void handle_page_style(const CallPtr& call);

// The schema of a body's `model`.
Json model_schema(const App& app);
// What every answer with token counts holds.
Json usage_schema();

}  // namespace lanner::server
