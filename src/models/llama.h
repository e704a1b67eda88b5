// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "models/registry.h"

namespace lanner {

ModelInfo llama_info(const ConfigReader& config);
std::unique_ptr<Model> load_llama(const ConfigReader& config, const Checkpoint& checkpoint,
                                  LoadContext& context);

}  // namespace lanner
