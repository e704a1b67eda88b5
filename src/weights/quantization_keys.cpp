// SPDX-License-Identifier: Apache-2.0
#include "weights/quantization_keys.h"

#include <algorithm>

#include "base/error.h"

namespace lanner {
namespace {

constexpr const char* kKey = "quantization_config";

}  // namespace

std::optional<QuantizationKeys> QuantizationKeys::of(const ConfigReader& config,
                                                     const char* method) {
  const auto found = config.json().find(kKey);
  if (found == config.json().end() || !found->is_object()) return std::nullopt;
  const auto name = found->find("quant_method");
  if (name == found->end() || *name != method) return std::nullopt;
  config.ignore(kKey);
  return QuantizationKeys(config, *found);
}

const Json* QuantizationKeys::find(const std::string& key) const {
  read_.insert(key);
  const auto found = json_->find(key);
  return found == json_->end() || found->is_null() ? nullptr : &*found;
}

void QuantizationKeys::refuse(const std::string& key) const {
  const auto found = json_->find(key);
  throw_error(ErrorCode::kUnsupported, "{} is {}: not supported",
              config_.key_path(fmt::format("{}.{}", kKey, key)),
              found == json_->end() ? "missing" : found->dump());
}

void QuantizationKeys::require(const std::string& key, const Json& value) const {
  const Json* found = find(key);
  if (found == nullptr || *found != value) refuse(key);
}

void QuantizationKeys::require_if_there(const std::string& key, const Json& value) const {
  const Json* found = find(key);
  if (found != nullptr && *found != value) refuse(key);
}

int64_t QuantizationKeys::integer(const std::string& key, int64_t otherwise) const {
  const Json* found = find(key);
  if (found == nullptr) return otherwise;
  if (!found->is_number_integer()) refuse(key);
  return found->get<int64_t>();
}

bool QuantizationKeys::flag(const std::string& key, bool otherwise) const {
  const Json* found = find(key);
  if (found == nullptr) return otherwise;
  if (!found->is_boolean()) refuse(key);
  return found->get<bool>();
}

std::string QuantizationKeys::text(const std::string& key, const char* otherwise) const {
  const Json* found = find(key);
  if (found == nullptr) return otherwise;
  if (!found->is_string()) refuse(key);
  return found->get<std::string>();
}

void QuantizationKeys::finish(std::span<const std::string_view> without_effect) const {
  for (const auto& [key, value] : json_->items()) {
    const bool known = read_.contains(key) || value.is_null() ||
                       std::ranges::find(without_effect, key) != without_effect.end();
    if (!known) refuse(key);
  }
}

}  // namespace lanner
