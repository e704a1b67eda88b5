// SPDX-License-Identifier: Apache-2.0
#include "weights/config_reader.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "base/json.h"
#include "weights/config_keys.h"
#include "weights/mapped_file.h"

namespace lanner {
namespace {

// Published files have a few kB. The parser takes quadratic time in the number of keys.
constexpr JsonLimits kLimits{.max_bytes = size_t{512} << 10, .max_depth = 32};
constexpr size_t kMaxListLength = 100'000;

// A value for a message.
std::string shown(const Json& value) {
  constexpr size_t kLongest = 60;
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > kLongest) text = text.substr(0, kLongest) + "...";
  return text;
}

bool is_one_of(std::string_view key, std::span<const std::string_view> keys) {
  return std::ranges::find(keys, key) != keys.end();
}

bool has_no_effect(std::string_view key, const Json& value) {
  if (is_one_of(key, config_keys_without_effect())) return true;
  return std::ranges::any_of(config_keys_without_effect_if(), [&](const ConfigKeyValue& row) {
    return row.key == key && row.value == value.dump();
  });
}

// transformers 5 -> the keys of transformers 4.
void spread_rope_parameters(Json& config, const std::string& name) {
  const auto found = config.find("rope_parameters");
  if (found == config.end() || !found->is_object()) return;
  const bool by_layer_type =
      std::ranges::any_of(*found, [](const Json& value) { return value.is_object(); });
  if (by_layer_type) return;
  Json scaling = *found;
  config.erase("rope_parameters");
  const auto set = [&](const char* key, const Json& value) {
    const auto old = config.find(key);
    if (old != config.end() && !old->is_null() && *old != value) {
      throw_error(ErrorCode::kInvalidArgument, "{}: 'rope_parameters' contradicts '{}': {} and {}",
                  name, key, shown(value), shown(*old));
    }
    config[key] = value;
  };
  for (const char* key : {"rope_theta", "partial_rotary_factor"}) {
    if (const auto value = scaling.find(key); value != scaling.end()) {
      set(key, *value);
      scaling.erase(key);
    }
  }
  const bool is_default = scaling.size() <= 1 && scaling.value("rope_type", Json()) == "default";
  if (!is_default && !scaling.empty()) set("rope_scaling", scaling);
}

}  // namespace

struct ConfigReader::State {
  Json json;
  std::string name;
  std::string prefix;  // "rope_scaling." of a nested object
  std::set<std::string, std::less<>> read;
  std::map<std::string, std::shared_ptr<State>, std::less<>> nested;

  void collect_unknown(std::vector<std::string>& unknown) const {
    for (const auto& [key, value] : json.items()) {
      if (const auto object = nested.find(key); object != nested.end()) {
        object->second->collect_unknown(unknown);
      } else if (!value.is_null() && read.count(key) == 0 && !has_no_effect(key, value)) {
        unknown.push_back(prefix + key);
      }
    }
  }
};

ConfigReader::ConfigReader(Json config, std::string name) : state_(std::make_shared<State>()) {
  if (!config.is_object()) {
    throw_error(ErrorCode::kCorruptFile, "{}: expected a JSON object, found {}", name,
                shown(config));
  }
  spread_rope_parameters(config, name);
  state_->json = std::move(config);
  state_->name = std::move(name);
}

ConfigReader ConfigReader::from_file(const std::string& path) {
  return ConfigReader(read_json_file(path, kLimits), path);
}

const std::string& ConfigReader::name() const { return state_->name; }

std::string ConfigReader::key_path(std::string_view key) const {
  return fmt::format("{}: '{}{}'", name(), state_->prefix, key);
}
const Json& ConfigReader::json() const { return state_->json; }

bool ConfigReader::contains(std::string_view key) const {
  const auto found = state_->json.find(std::string(key));
  return found != state_->json.end() && !found->is_null();
}

const Json* ConfigReader::find(std::string_view key) const {
  state_->read.emplace(key);
  const auto found = state_->json.find(std::string(key));
  return found == state_->json.end() || found->is_null() ? nullptr : &*found;
}

const Json& ConfigReader::require(std::string_view key) const {
  const Json* value = find(key);
  if (value == nullptr) {
    throw_error(ErrorCode::kInvalidArgument, "{}: no '{}{}'", name(), state_->prefix, key);
  }
  return *value;
}

void ConfigReader::throw_invalid(std::string_view key, const Json& value,
                                 const std::string& expected) const {
  throw_error(ErrorCode::kInvalidArgument, "{}: '{}{}' is {}, expected {}", name(), state_->prefix,
              key, shown(value), expected);
}

void ConfigReader::throw_not_supported(std::string_view key, const Json& value,
                                       const std::string& supported) const {
  throw_error(ErrorCode::kUnsupported, "{}: '{}{}' is {}, only {} is supported", name(),
              state_->prefix, key, shown(value), supported);
}

int ConfigReader::to_int(std::string_view key, const Json& value, IntRange range) const {
  // Unsigned numbers above the range of int64 must not wrap.
  const bool fits = value.is_number_integer() &&
                    (!value.is_number_unsigned() || std::in_range<int>(value.get<uint64_t>())) &&
                    std::in_range<int>(value.get<int64_t>());
  if (!fits || value.get<int64_t>() < range.min || value.get<int64_t>() > range.max) {
    throw_invalid(key, value, fmt::format("an integer from {} to {}", range.min, range.max));
  }
  return value.get<int>();
}

double ConfigReader::to_double(std::string_view key, const Json& value, DoubleRange range) const {
  const double number = value.is_number() ? value.get<double>() : 0.0;
  if (!value.is_number() || !(number >= range.min && number <= range.max)) {
    std::string expected = fmt::format("a number from {} to {}", range.min, range.max);
    if (range.max == DoubleRange().max) {
      expected = range.min == DoubleRange().min ? "a positive number"
                 : range.min == 0.0             ? "a number that is not negative"
                                                : "a finite number";
    }
    throw_invalid(key, value, expected);
  }
  return number;
}

std::string ConfigReader::to_string(std::string_view key, const Json& value) const {
  if (!value.is_string()) throw_invalid(key, value, "a string");
  return value.get<std::string>();
}

const Json& ConfigReader::to_list(std::string_view key, const Json& value) const {
  if (!value.is_array() || value.size() > kMaxListLength) {
    throw_invalid(key, value, fmt::format("a list of at most {} elements", kMaxListLength));
  }
  return value;
}

std::optional<int> ConfigReader::optional_int(std::string_view key, IntRange range) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  return to_int(key, *value, range);
}

std::optional<double> ConfigReader::optional_double(std::string_view key, DoubleRange range) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  return to_double(key, *value, range);
}

std::optional<float> ConfigReader::optional_float(std::string_view key, DoubleRange range) const {
  // Never rounded to infinity, nor to a zero that was not allowed.
  const auto largest = static_cast<double>(std::numeric_limits<float>::max());
  const auto smallest = static_cast<double>(std::numeric_limits<float>::min());
  range.max = std::min(range.max, largest);
  range.min = range.min > 0.0 ? std::max(range.min, smallest) : std::max(range.min, -largest);
  const std::optional<double> value = optional_double(key, range);
  if (!value) return std::nullopt;
  return static_cast<float>(*value);
}

std::optional<bool> ConfigReader::optional_bool(std::string_view key) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) throw_invalid(key, *value, "true or false");
  return value->get<bool>();
}

std::optional<std::string> ConfigReader::optional_string(std::string_view key) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  return to_string(key, *value);
}

std::optional<ConfigReader> ConfigReader::optional_object(std::string_view key) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_object()) throw_invalid(key, *value, "an object");
  std::shared_ptr<State>& nested = state_->nested[std::string(key)];
  if (nested == nullptr) {
    nested = std::make_shared<State>();
    nested->json = *value;
    nested->name = name();
    nested->prefix = fmt::format("{}{}.", state_->prefix, key);
  }
  return ConfigReader(nested);
}

std::optional<std::vector<int>> ConfigReader::optional_ints(std::string_view key,
                                                            IntRange range) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  std::vector<int> list;
  for (const Json& element : to_list(key, *value)) list.push_back(to_int(key, element, range));
  return list;
}

std::optional<std::vector<double>> ConfigReader::optional_doubles(std::string_view key,
                                                                  DoubleRange range) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  std::vector<double> list;
  for (const Json& element : to_list(key, *value)) list.push_back(to_double(key, element, range));
  return list;
}

std::optional<std::vector<std::string>> ConfigReader::optional_strings(std::string_view key) const {
  const Json* value = find(key);
  if (value == nullptr) return std::nullopt;
  std::vector<std::string> list;
  for (const Json& element : to_list(key, *value)) list.push_back(to_string(key, element));
  return list;
}

// The required ones: require() speaks up first if the key is missing.
int ConfigReader::required_int(std::string_view key, IntRange range) const {
  return to_int(key, require(key), range);
}
double ConfigReader::required_double(std::string_view key, DoubleRange range) const {
  return to_double(key, require(key), range);
}
float ConfigReader::required_float(std::string_view key, DoubleRange range) const {
  require(key);
  return *optional_float(key, range);
}
bool ConfigReader::required_bool(std::string_view key) const {
  require(key);
  return *optional_bool(key);
}
std::string ConfigReader::required_string(std::string_view key) const {
  return to_string(key, require(key));
}
ConfigReader ConfigReader::required_object(std::string_view key) const {
  require(key);
  return *optional_object(key);
}
std::vector<int> ConfigReader::required_ints(std::string_view key, IntRange range) const {
  require(key);
  return *optional_ints(key, range);
}
std::vector<double> ConfigReader::required_doubles(std::string_view key, DoubleRange range) const {
  require(key);
  return *optional_doubles(key, range);
}
std::vector<std::string> ConfigReader::required_strings(std::string_view key) const {
  require(key);
  return *optional_strings(key);
}

int ConfigReader::optional_int(std::string_view key, int default_value, IntRange range) const {
  return optional_int(key, range).value_or(default_value);
}
double ConfigReader::optional_double(std::string_view key, double default_value,
                                     DoubleRange range) const {
  return optional_double(key, range).value_or(default_value);
}
float ConfigReader::optional_float(std::string_view key, float default_value,
                                   DoubleRange range) const {
  return optional_float(key, range).value_or(default_value);
}
bool ConfigReader::optional_bool(std::string_view key, bool default_value) const {
  return optional_bool(key).value_or(default_value);
}
std::string ConfigReader::optional_string(std::string_view key, const char* default_value) const {
  return optional_string(key).value_or(default_value);
}

std::vector<int32_t> ConfigReader::token_ids(std::string_view key) const {
  const Json* value = find(key);
  if (value == nullptr) return {};
  constexpr IntRange kIds{.min = 0};
  if (!value->is_array()) return {to_int(key, *value, kIds)};
  std::vector<int32_t> ids;
  for (const Json& element : to_list(key, *value)) ids.push_back(to_int(key, element, kIds));
  return ids;
}

void ConfigReader::refuse_unless(std::string_view key, bool only_supported) const {
  const Json* value = find(key);
  if (value == nullptr || *value == only_supported) return;
  throw_not_supported(key, *value, only_supported ? "true" : "false");
}

void ConfigReader::refuse_unless(std::string_view key, int only_supported) const {
  refuse_unless(key, static_cast<double>(only_supported));
}

void ConfigReader::refuse_unless(std::string_view key, double only_supported) const {
  const Json* value = find(key);
  if (value == nullptr || (value->is_number() && value->get<double>() == only_supported)) return;
  throw_not_supported(key, *value, fmt::format("{}", only_supported));
}

void ConfigReader::refuse_unless(std::string_view key, const char* only_supported) const {
  const Json* value = find(key);
  if (value == nullptr || *value == only_supported) return;
  throw_not_supported(key, *value, fmt::format("\"{}\"", only_supported));
}

void ConfigReader::ignore(std::string_view key) const { state_->read.emplace(key); }

std::vector<std::string> ConfigReader::unknown_keys() const {
  std::vector<std::string> unknown;
  state_->collect_unknown(unknown);
  return unknown;
}

void ConfigReader::finish() const {
  std::vector<std::string> unknown = unknown_keys();
  for (std::string& key : unknown) key = quote_name(key);
  if (unknown.empty()) return;
  constexpr size_t kMost = 20;
  const size_t count = unknown.size();
  if (count > kMost) unknown.resize(kMost);
  throw_error(ErrorCode::kUnsupported,
              "{}: keys that Lanner does not know for this model, and that may change its result: "
              "{}{}",
              name(), fmt::join(unknown, ", "),
              count > kMost ? fmt::format(", and {} more", count - kMost) : "");
}

}  // namespace lanner
