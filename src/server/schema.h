// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"

namespace lanner::server {

// Small JSON schemas: what a request may hold is checked against them, and the OpenAPI document
// shows the same ones.
Json number(double minimum, double maximum);
Json number_above(double exclusive_minimum, double maximum);
Json integer(int64_t minimum, int64_t maximum);
Json boolean();
Json text(int64_t min_length = 0, int64_t max_length = -1);
Json one_of(const std::vector<std::string>& names);
Json list(Json items, int64_t min_items = 0, int64_t max_items = -1);
Json any_of(std::vector<Json> schemas);
Json strings_or_one(int64_t max_items);
// Other members are refused.
Json object(std::vector<std::pair<std::string, Json>> members, std::vector<std::string> required);
// An object with any members.
Json any_object();
// The same, or null.
Json nullable(Json schema);
// The same with a description.
Json described(Json schema, const char* meaning);

// Checks a value against a schema made of these. Throws HttpError(400) naming the place.
void check_schema(const Json& value, const Json& schema, const std::string& place);

// Whole numbers that passed integer(): JSON may write them as 5 or 5.0.
int to_int(const Json& value);
int64_t to_int64(const Json& value);

}  // namespace lanner::server
