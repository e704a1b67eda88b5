// SPDX-License-Identifier: Apache-2.0
#include "server/schema.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "server/status.h"

namespace lanner::server {
namespace {

[[noreturn]] void refuse(const std::string& place, const std::string& what) {
  // The member at the top is what clients know by name.
  const size_t end = place.find_first_of(".[");
  throw HttpError(400, fmt::format("'{}' {}", place, what), place.substr(0, end));
}

bool is_whole(const Json& value) {
  if (value.is_number_integer()) return true;
  return value.is_number_float() && std::floor(value.get<double>()) == value.get<double>();
}

bool has_type(const Json& value, std::string_view type) {
  if (type == "null") return value.is_null();
  if (type == "boolean") return value.is_boolean();
  if (type == "integer") return value.is_number() && is_whole(value);
  if (type == "number") return value.is_number();
  if (type == "string") return value.is_string();
  if (type == "array") return value.is_array();
  return value.is_object();
}

std::string article(std::string_view type) {
  return (type.front() == 'a' || type.front() == 'i' || type.front() == 'o' ? "an " : "a ") +
         std::string(type);
}

void check_type(const Json& value, const Json& type, const std::string& place) {
  std::vector<std::string> names;
  for (const Json& name : type.is_array() ? type : Json::array({type})) {
    if (has_type(value, name.get_ref<const std::string&>())) return;
    names.push_back(article(name.get_ref<const std::string&>()));
  }
  refuse(place, fmt::format("is not {}", fmt::join(names, " or ")));
}

void check_number(const Json& value, const Json& schema, const std::string& place) {
  const double number = value.get<double>();
  const bool above = schema.contains("exclusiveMinimum");
  const Json& low = schema.at(above ? "exclusiveMinimum" : "minimum");
  const Json& high = schema.at("maximum");
  const double lowest = low.get<double>();
  const bool fits = (above ? number > lowest : number >= lowest) && number <= high.get<double>();
  // 2^63 as a double equals the largest int64 as a double, but is no int64.
  const bool whole_fits = !value.is_number_float() || high.is_number_float() || number < 9.2e18;
  if (!fits || !whole_fits || (value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX)) {
    refuse(place, fmt::format("is {}, not in {}{}, {}]", value.dump(), above ? "(" : "[",
                              low.dump(), high.dump()));
  }
}

size_t characters(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

void check_size(size_t size, const Json& schema, const char* least, const char* most,
                const char* unit, const std::string& place) {
  if (schema.contains(least) && size < schema.at(least).get<size_t>()) {
    refuse(place, size == 0 ? std::string("is empty")
                            : fmt::format("has {} {}, at least {} are needed", size, unit,
                                          schema.at(least).get<size_t>()));
  }
  if (schema.contains(most) && size > schema.at(most).get<size_t>()) {
    refuse(place, fmt::format("has {} {}, at most {} are allowed", size, unit,
                              schema.at(most).get<size_t>()));
  }
}

void check_object(const Json& value, const Json& schema, const std::string& place) {
  const auto members = schema.find("properties");
  if (members == schema.end()) return;
  const std::string prefix = place.empty() ? "" : place + ".";
  for (const Json& name : schema.value("required", Json::array())) {
    const auto& text = name.get_ref<const std::string&>();
    if (!value.contains(text)) refuse(prefix + text, "is missing");
  }
  for (const auto& [name, member] : value.items()) {
    const auto known = members->find(name);
    if (known != members->end()) {
      check_schema(member, *known, prefix + name);
    } else if (!schema.value("additionalProperties", true)) {
      refuse(prefix + name, "is not supported");
    }
  }
}

}  // namespace

Json number(double minimum, double maximum) {
  return {{"type", "number"}, {"minimum", minimum}, {"maximum", maximum}};
}
Json number_above(double exclusive_minimum, double maximum) {
  return {{"type", "number"}, {"exclusiveMinimum", exclusive_minimum}, {"maximum", maximum}};
}
Json integer(int64_t minimum, int64_t maximum) {
  return {{"type", "integer"}, {"minimum", minimum}, {"maximum", maximum}};
}
Json boolean() { return {{"type", "boolean"}}; }
Json text(int64_t min_length, int64_t max_length) {
  Json schema = {{"type", "string"}};
  if (min_length > 0) schema["minLength"] = min_length;
  if (max_length >= 0) schema["maxLength"] = max_length;
  return schema;
}
Json one_of(const std::vector<std::string>& names) { return {{"type", "string"}, {"enum", names}}; }
Json list(Json items, int64_t min_items, int64_t max_items) {
  Json schema = {{"type", "array"}, {"items", std::move(items)}};
  if (min_items > 0) schema["minItems"] = min_items;
  if (max_items >= 0) schema["maxItems"] = max_items;
  return schema;
}
Json any_of(std::vector<Json> schemas) { return {{"anyOf", std::move(schemas)}}; }
Json strings_or_one(int64_t max_items) { return any_of({text(1), list(text(1), 0, max_items)}); }
Json object(std::vector<std::pair<std::string, Json>> members, std::vector<std::string> required) {
  Json properties = Json::object();
  for (auto& [name, schema] : members) properties[name] = std::move(schema);
  Json schema = {{"type", "object"}, {"properties", std::move(properties)}};
  if (!required.empty()) schema["required"] = std::move(required);
  schema["additionalProperties"] = false;
  return schema;
}
Json any_object() { return {{"type", "object"}}; }
Json nullable(Json schema) {
  if (schema.contains("anyOf")) {
    schema["anyOf"].push_back({{"type", "null"}});
  } else {
    schema["type"] = Json::array({schema["type"], "null"});
    if (schema.contains("enum")) schema["enum"].push_back(nullptr);
  }
  return schema;
}
Json described(Json schema, const char* meaning) {
  schema["description"] = meaning;
  return schema;
}

void check_schema(const Json& value, const Json& schema, const std::string& place) {
  if (const auto choices = schema.find("anyOf"); choices != schema.end()) {
    std::string why;
    for (const Json& choice : *choices) {
      try {
        return check_schema(value, choice, place);
      } catch (const HttpError& error) {
        // The complaint of the choice whose type fits says most.
        const Json type = choice.value("type", Json("object"));
        if (why.empty() || (type.is_string() && has_type(value, type.get<std::string>()))) {
          why = error.what();
        }
      }
    }
    throw HttpError(400, why, place.substr(0, place.find_first_of(".[")));
  }
  if (schema.contains("type")) check_type(value, schema["type"], place);
  if (const auto names = schema.find("enum"); names != schema.end()) {
    if (std::find(names->begin(), names->end(), value) == names->end()) {
      refuse(place, fmt::format("is not one of {}", names->dump()));
    }
  }
  if (value.is_number() && schema.contains("maximum")) check_number(value, schema, place);
  if (value.is_string()) {
    check_size(characters(value.get_ref<const std::string&>()), schema, "minLength", "maxLength",
               "characters", place);
  }
  if (value.is_array()) {
    check_size(value.size(), schema, "minItems", "maxItems", "entries", place);
    if (const auto items = schema.find("items"); items != schema.end()) {
      for (size_t i = 0; i < value.size(); ++i) {
        check_schema(value[i], *items, fmt::format("{}[{}]", place, i));
      }
    }
  }
  if (value.is_object()) check_object(value, schema, place);
}

int to_int(const Json& value) { return static_cast<int>(to_int64(value)); }
int64_t to_int64(const Json& value) {
  return value.is_number_float() ? static_cast<int64_t>(value.get<double>()) : value.get<int64_t>();
}

}  // namespace lanner::server
