// SPDX-License-Identifier: Apache-2.0
#include "models/registry.h"

#include <algorithm>
#include <limits>
#include <string_view>
#include <vector>

#include <fmt/ranges.h>

#include "base/error.h"
#include "models/decoder.h"
#include "models/families.h"

namespace lanner {
namespace {

constexpr ModelFamily kFamilies[] = {
    {"cohere", cohere},
    {"cohere2", cohere2},
    {"deepseek_v2", deepseek_v2},
    {"deepseek_v3", deepseek_v3},
    {"ernie4_5", ernie4_5},
    {"exaone4", exaone4},
    {"glm4_moe", glm4_moe},
    {"gpt_oss", gpt_oss},
    {"granite", granite},
    {"granitemoe", granitemoe},
    {"hunyuan_v1_dense", hunyuan_v1_dense},
    {"internlm2", internlm2},
    {"llama", llama},
    {"mixtral", mixtral},
    {"nemotron", nemotron},
    {"olmo", olmo},
    {"olmo2", olmo2},
    {"olmoe", olmoe},
    {"qwen2_moe", qwen2_moe},
    {"qwen3_moe", qwen3_moe},
    {"seed_oss", seed_oss},
    {"smollm3", smollm3},
    {"stablelm", stablelm},
    {"starcoder2", starcoder2},
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

int read_reusable_length(const ConfigReader& config) {
  int length = std::numeric_limits<int>::max();
  for (const BlockConfig& block : read_spec(config, config.required_string("model_type")).blocks) {
    const auto& rope = block.rope();
    if (rope && rope->scaling == RopeScaling::kDynamic) {
      length = std::min(length, rope->max_position);
    }
  }
  return length;
}

std::unique_ptr<Model> load_model(const ConfigReader& config, const Checkpoint& checkpoint,
                                  LoadContext& context) {
  const std::string model_type = config.required_string("model_type");
  const DecoderSpec spec = read_spec(config, model_type);
  return std::make_unique<DecoderModel>(spec, model_info(spec, model_type), checkpoint, context);
}

}  // namespace lanner
