// SPDX-License-Identifier: Apache-2.0
// Apart from the registry, so that a config can be read without what computes.
#include "models/decoder.h"
#include "models/registry.h"

namespace lanner {

std::unique_ptr<Model> load_model(const ConfigReader& config, const Checkpoint& checkpoint,
                                  LoadContext& context) {
  const DecoderSpec spec = read_spec(config);
  const ModelInfo info = model_info(spec, config.required_string("model_type"));
  return std::make_unique<DecoderModel>(spec, info, checkpoint, context);
}

}  // namespace lanner
