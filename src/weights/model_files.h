// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "weights/checkpoint.h"
#include "weights/config_reader.h"
#include "weights/generation_config.h"
#include "weights/gguf_tokenizer.h"
#include "weights/lora.h"

namespace lanner {

// A model as it lies on disk, opened and checked, with nothing loaded yet: the same for a Hugging
// Face folder and for a GGUF file.
struct ModelFiles {
  ConfigReader config;  // the keys of config.json
  std::unique_ptr<Checkpoint> checkpoint;
  GenerationConfig generation;
  std::optional<GgufTokenizerData> gguf_tokenizer;  // of a GGUF file that has a vocabulary
  std::string path;                                 // as given
  std::string folder;  // the folder, or the one that the file is in; "" without files
  bool is_gguf = false;
  bool has_random_weights = false;
  std::vector<LoraAdapter> lora = {};  // to be held beside the weights, fitted to the checkpoint
};

// Opens a folder with config.json and safetensors files, or a .gguf file. Throws Error(kNotFound),
// Error(kUnsupported), Error(kCorruptFile), Error(kInvalidArgument) or Error(kIo): a sentence that
// starts with the path and says what is wrong with it, and what to give instead.
ModelFiles open_model(const std::string& path);

// The config of a preset, of a folder with config.json or of a config.json, and random weights for
// it (random_checkpoint.h). Throws as random_model_config.
ModelFiles open_random_model(const std::string& config_or_preset);

// What a model's text is read from, with nothing else of it opened.
struct ModelTextFiles {
  std::optional<GgufTokenizerData> gguf_tokenizer;  // of a GGUF file that has a vocabulary
  std::string path;                                 // as given
  std::string folder;                               // the folder, or the one that the file is in
  bool is_gguf = false;
};

// The same for a folder with tokenizer files, which are not looked at here, or a .gguf file. Throws
// as open_model does.
ModelTextFiles open_model_text(const std::string& path);

}  // namespace lanner
