// SPDX-License-Identifier: Apache-2.0
#include "models/registry.h"

#include <string_view>
#include <vector>

#include <fmt/ranges.h>

#include "base/error.h"
#include "models/decoder.h"
#include "models/families.h"

namespace lanner {
namespace {

constexpr ModelFamily kFamilies[] = {
    {"llama", llama},
};

DecoderSpec read_spec(const ConfigReader& config, const std::string& model_type) {
  std::vector<std::string_view> known;
  for (const ModelFamily& family : kFamilies) {
    known.push_back(family.model_type);
    if (model_type != family.model_type) continue;
    DecoderSpec spec = family.spec(config);
    config.finish();
    return spec;
  }
  throw_error(ErrorCode::kUnsupported, "{}: model type '{}' is not supported; supported: {}",
              config.key_path("model_type"), model_type, fmt::join(known, ", "));
}

}  // namespace

std::span<const ModelFamily> model_families() { return kFamilies; }

ModelInfo read_model_info(const ConfigReader& config) {
  const std::string model_type = config.required_string("model_type");
  return model_info(read_spec(config, model_type), model_type);
}

std::unique_ptr<Model> load_model(const ConfigReader& config, const Checkpoint& checkpoint,
                                  LoadContext& context) {
  const std::string model_type = config.required_string("model_type");
  const DecoderSpec spec = read_spec(config, model_type);
  return std::make_unique<DecoderModel>(spec, model_info(spec, model_type), checkpoint, context);
}

}  // namespace lanner
