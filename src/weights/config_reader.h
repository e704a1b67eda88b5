// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace lanner {

using Json = nlohmann::ordered_json;

// Allowed values, both ends included.
struct IntRange {
  int min = 1;
  int max = std::numeric_limits<int>::max();
};
// The default: positive and finite. NaN is never in a range.
struct DoubleRange {
  double min = std::numeric_limits<double>::min();
  double max = std::numeric_limits<double>::max();

  static constexpr DoubleRange any() { return {std::numeric_limits<double>::lowest()}; }
  static constexpr DoubleRange not_negative() { return {0.0}; }
};

// Typed, checked access to a config.json. It remembers which keys were read: finish() refuses the
// ones that nobody knows, so that no value which changes the result is ignored in silence. A key
// with the value null counts as missing everywhere. Copies share what they refer to, the memory of
// read keys as well; one thread at a time.
//
// Every accessor throws Error(kInvalidArgument) naming file, key, value and what was expected; the
// required_ ones also for a missing key.
//
// The `rope_parameters` that transformers 5 writes are turned into `rope_theta`, `rope_scaling` and
// `partial_rotary_factor` on the way in (not if they hold one object per layer type).
class ConfigReader {
 public:
  // `name` starts every message. Throws Error(kCorruptFile) unless the config is an object.
  ConfigReader(Json config, std::string name);
  // Throws Error(kNotFound), Error(kIo) or Error(kCorruptFile) naming the path.
  static ConfigReader from_file(const std::string& path);

  // Does not count as reading.
  bool contains(std::string_view key) const;

  int required_int(std::string_view key, IntRange range = {}) const;
  double required_double(std::string_view key, DoubleRange range = {}) const;
  float required_float(std::string_view key, DoubleRange range = {}) const;
  bool required_bool(std::string_view key) const;
  std::string required_string(std::string_view key) const;
  ConfigReader required_object(std::string_view key) const;
  std::vector<int> required_ints(std::string_view key, IntRange range = {}) const;
  std::vector<double> required_doubles(std::string_view key, DoubleRange range = {}) const;
  std::vector<std::string> required_strings(std::string_view key) const;

  // Nothing if the key is missing: optional_int("head_dim").value_or(64).
  std::optional<int> optional_int(std::string_view key, IntRange range = {}) const;
  std::optional<double> optional_double(std::string_view key, DoubleRange range = {}) const;
  std::optional<float> optional_float(std::string_view key, DoubleRange range = {}) const;
  std::optional<bool> optional_bool(std::string_view key) const;
  std::optional<std::string> optional_string(std::string_view key) const;
  std::optional<ConfigReader> optional_object(std::string_view key) const;
  std::optional<std::vector<int>> optional_ints(std::string_view key, IntRange range = {}) const;
  std::optional<std::vector<double>> optional_doubles(std::string_view key,
                                                      DoubleRange range = {}) const;
  std::optional<std::vector<std::string>> optional_strings(std::string_view key) const;

  // The same with a value for a missing key.
  int optional_int(std::string_view key, int default_value, IntRange range = {}) const;
  double optional_double(std::string_view key, double default_value, DoubleRange range = {}) const;
  float optional_float(std::string_view key, float default_value, DoubleRange range = {}) const;
  bool optional_bool(std::string_view key, bool default_value) const;
  std::string optional_string(std::string_view key, const char* default_value) const;

  // One id or a list of ids, as in eos_token_id; empty if the key is missing.
  std::vector<int32_t> token_ids(std::string_view key) const;

  // Error(kUnsupported) naming key and value if the key is there with another value.
  void refuse_unless(std::string_view key, bool only_supported) const;
  void refuse_unless(std::string_view key, int only_supported) const;
  void refuse_unless(std::string_view key, double only_supported) const;
  void refuse_unless(std::string_view key, const char* only_supported) const;
  // Counts the key as read: it has no effect in this family.
  void ignore(std::string_view key) const;

  // The keys, also of nested objects ("rope_scaling.factor"), that were neither read nor are known
  // to have no effect on inference (config_keys.h).
  std::vector<std::string> unknown_keys() const;
  // Throws Error(kUnsupported) naming the unknown keys, if there are any.
  void finish() const;

  // The path that messages start with.
  const std::string& name() const;
  // "path: 'rope_scaling.factor'": how a message names a key.
  std::string key_path(std::string_view key) const;
  // The whole object; reading from it is not noticed.
  const Json& json() const;

 private:
  struct State;
  explicit ConfigReader(std::shared_ptr<State> state) : state_(std::move(state)) {}
  const Json* find(std::string_view key) const;
  const Json& require(std::string_view key) const;
  [[noreturn]] void throw_invalid(std::string_view key, const Json& value,
                                  const std::string& expected) const;
  [[noreturn]] void throw_not_supported(std::string_view key, const Json& value,
                                        const std::string& supported) const;
  int to_int(std::string_view key, const Json& value, IntRange range) const;
  double to_double(std::string_view key, const Json& value, DoubleRange range) const;
  std::string to_string(std::string_view key, const Json& value) const;
  const Json& to_list(std::string_view key, const Json& value) const;

  std::shared_ptr<State> state_;
};

}  // namespace lanner
