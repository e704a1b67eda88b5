// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "base/json.h"
#include "weights/config_reader.h"

namespace lanner {

// The quantization_config of a config.json, key by key: what is there is used or refused by name.
// All methods throw Error(kUnsupported) naming key and value.
class QuantizationKeys {
 public:
  // Nothing unless its quant_method is `method`. The whole object counts as read.
  static std::optional<QuantizationKeys> of(const ConfigReader& config, const char* method);

  [[noreturn]] void refuse(const std::string& key) const;
  void require(const std::string& key, const Json& value) const;
  // null counts as not there.
  void require_if_there(const std::string& key, const Json& value) const;
  int64_t integer(const std::string& key, int64_t otherwise) const;
  bool flag(const std::string& key, bool otherwise) const;
  std::string text(const std::string& key, const char* otherwise) const;
  // Refuses the first key that nobody asked for and that is not in the list.
  void finish(std::span<const std::string_view> without_effect) const;

 private:
  QuantizationKeys(const ConfigReader& config, const Json& json) : config_(config), json_(&json) {}
  const Json* find(const std::string& key) const;

  ConfigReader config_;
  const Json* json_;
  mutable std::set<std::string> read_ = {"quant_method"};
};

}  // namespace lanner
