// SPDX-License-Identifier: Apache-2.0
#include "models/layer_types.h"

#include "base/error.h"

namespace lanner {

std::vector<bool> read_windowed_layers(const ConfigReader& c, size_t num_layers,
                                       FunctionRef<bool(int layer)> otherwise) {
  std::vector<bool> windowed;
  const auto types = c.optional_strings("layer_types");
  if (!types) {
    for (size_t i = 0; i < num_layers; ++i) windowed.push_back(otherwise(static_cast<int>(i)));
    return windowed;
  }
  check_argument(types->size() == num_layers, "{}: {} layers, expected {}",
                 c.key_path("layer_types"), types->size(), num_layers);
  for (const std::string& type : *types) {
    if (type != "sliding_attention" && type != "full_attention") {
      throw_error(ErrorCode::kUnsupported,
                  "{}: layer type '{}' is unknown; known: sliding_attention, full_attention",
                  c.key_path("layer_types"), type);
    }
    windowed.push_back(type == "sliding_attention");
  }
  return windowed;
}

}  // namespace lanner
