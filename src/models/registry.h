// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>

#include "models/model.h"
#include "weights/checkpoint.h"
#include "weights/config_reader.h"

namespace lanner {

// A family by the model_type of config.json. An alias is a row with the functions of another.
struct ModelFamily {
  const char* model_type;
  // Reads and checks the config alone: what `lanner info` and the memory plan need.
  ModelInfo (*info)(const ConfigReader& config);
  std::unique_ptr<Model> (*load)(const ConfigReader& config, const Checkpoint& checkpoint,
                                 LoadContext& context);
};

std::span<const ModelFamily> model_families();

// Throws Error(kUnsupported) naming the model_type and those that work.
const ModelFamily& find_model_family(const ConfigReader& config);

}  // namespace lanner
