// SPDX-License-Identifier: Apache-2.0
// What Python asks for, as the API's structs.
#pragma once

#include <vector>

#include <nanobind/nanobind.h>

#include "lanner/chat.h"
#include "lanner/config.h"
#include "lanner/distributed.h"
#include "lanner/embedding.h"
#include "lanner/hub.h"
#include "lanner/quantize.h"
#include "lanner/request.h"

namespace lanner::python {

namespace nb = nanobind;

// Names of fields and their values; what the stubs call dict[str, Any].
using Fields = nb::typed<nb::dict, nb::str, nb::any>;
using FieldsList = nb::typed<nb::list, Fields>;

// Each takes a dict with the names of the struct's fields; fields that are not in it keep their
// defaults. They throw TypeError for unknown names and for values of other types.
LlmConfig to_config(const nb::dict& fields);
SamplingParams to_sampling_params(const nb::dict& fields);
Request to_request(const nb::dict& fields);
ChatRequest to_chat_request(const nb::dict& fields);
EmbeddingRequest to_embedding_request(const nb::dict& fields);
QuantizeOptions to_quantize_options(const nb::dict& fields);
HubOptions to_hub_options(const nb::dict& fields);
DistributedPlan to_distributed_plan(const nb::dict& fields);

// The other way round, for what a model proposes: without logit_bias, early_stopping and
// structured, which no model does.
Fields from_sampling_params(const SamplingParams& sampling);

// Names of the fields that the functions above know, for a test that compares them with the
// headers: {"LlmConfig": [...], ...}.
nb::typed<nb::dict, nb::str, nb::typed<nb::list, nb::str>> field_names();

}  // namespace lanner::python
