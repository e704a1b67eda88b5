// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>

#include "models/decoder_spec.h"
#include "models/model.h"
#include "weights/checkpoint.h"
#include "weights/config_reader.h"

namespace lanner {

// A family by the model_type of config.json. An alias is a row with the function of another. The
// words are for users (`lanner info --families`, docs/models.md).
struct ModelFamily {
  const char* model_type;
  DecoderSpec (*spec)(const ConfigReader& config);
  const char* models;    // as people call them
  const char* features;  // what sets it apart
  const char* golden;    // folders of tests/golden that it reproduces, "a, b"
};

std::span<const ModelFamily> model_families();

// What the family of the config's model_type makes of it. Throws Error(kUnsupported) naming a
// model_type that is unknown and those that work, Error naming a key that is missing, wrong or
// unknown.
DecoderSpec read_spec(const ConfigReader& config);

// Of the config alone: what `lanner info` and the memory plan need. Throws as read_spec.
ModelInfo read_model_info(const ConfigReader& config);

// K and V of a sequence longer than this depend on its length and not on the tokens before them
// alone, so that no other sequence may use them (dynamic RoPE scaling). Throws as read_spec.
int read_reusable_length(const ConfigReader& config);

// Throws as read_spec does, and Error naming a tensor that is missing or of another shape.
std::unique_ptr<Model> load_model(const ConfigReader& config, const Checkpoint& checkpoint,
                                  LoadContext& context);

}  // namespace lanner
