// SPDX-License-Identifier: Apache-2.0
#include "models/registry.h"

#include <array>
#include <string_view>
#include <vector>

#include <fmt/ranges.h>

#include "base/error.h"
#include "models/llama.h"

namespace lanner {
namespace {

constexpr std::array<ModelFamily, 1> kFamilies = {{
    {"llama", llama_info, load_llama},
}};

}  // namespace

std::span<const ModelFamily> model_families() { return kFamilies; }

const ModelFamily& find_model_family(const ConfigReader& config) {
  const std::string model_type = config.required_string("model_type");
  std::vector<std::string_view> known;
  for (const ModelFamily& family : kFamilies) {
    if (model_type == family.model_type) return family;
    known.push_back(family.model_type);
  }
  throw_error(ErrorCode::kUnsupported, "{}: model type '{}' is not supported; supported: {}",
              config.key_path("model_type"), model_type, fmt::join(known, ", "));
}

}  // namespace lanner
