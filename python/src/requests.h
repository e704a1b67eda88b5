// SPDX-License-Identifier: Apache-2.0
// What Python asks for, as the API's structs.
#pragma once

#include <vector>

#include <nanobind/nanobind.h>

#include "lanner/chat.h"
#include "lanner/config.h"
#include "lanner/request.h"

namespace lanner::python {

namespace nb = nanobind;

// Each takes a dict with the names of the struct's fields; fields that are not in it keep their
// defaults. They throw TypeError for unknown names and for values of other types.
LlmConfig to_config(const nb::dict& fields);
SamplingParams to_sampling_params(const nb::dict& fields);
Request to_request(const nb::dict& fields);
ChatRequest to_chat_request(const nb::dict& fields);

// The other way round, for what a model proposes: without logit_bias, early_stopping and
// structured, which no model does.
nb::dict from_sampling_params(const SamplingParams& sampling);

// Names of the fields that the functions above know, for a test that compares them with the
// headers: {"LlmConfig": [...], ...}.
nb::dict field_names();

}  // namespace lanner::python
