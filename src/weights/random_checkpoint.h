// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <string>

#include "weights/checkpoint.h"
#include "weights/config_reader.h"

namespace lanner {

// A config.json that needs no file: shapes to measure with.
struct ModelPreset {
  const char* name;
  const char* config;  // JSON
};
std::span<const ModelPreset> model_presets();

// The config of a preset, of a folder with config.json, or of a config.json itself. Throws
// Error(kNotFound) naming the presets when there is no such thing, and as ConfigReader::from_file.
ConfigReader random_model_config(const std::string& config_or_preset);

// A checkpoint without a file: a tensor is drawn when it is asked for, in bf16, from a normal
// distribution of deviation 0.02 (weights of norms around 1), the same values for the same name in
// every run. It holds whatever tensors a model insists on, so that it fits every family; it lists
// and contains() none, so that a model does without its optional ones.
std::unique_ptr<Checkpoint> make_random_checkpoint(std::string path);

}  // namespace lanner
