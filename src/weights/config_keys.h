// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string_view>

namespace lanner {

// Keys of config.json that have no effect on the logits of any family. A key that matters for one
// family is not here, even if others ignore it: those say so (ConfigReader::ignore, refuse_unless).
std::span<const std::string_view> config_keys_without_effect();

// Keys without effect as long as they have this value (as JSON).
struct ConfigKeyValue {
  std::string_view key;
  std::string_view value;
};
std::span<const ConfigKeyValue> config_keys_without_effect_if();

}  // namespace lanner
