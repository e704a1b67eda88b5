// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lanner/config.h"

namespace lanner {

// How quantize_model writes.
struct QuantizeOptions {
  // Of the matrices: one of kWeightDtypes. A GGUF file takes fp32, fp16, bf16, int8 (that is q8_0),
  // int4 (q4_0), int4_asym (q4_1), or one of kGgufDtypes.
  std::string dtype = "int8";
  // Of the table of token vectors in a GGUF file: "auto" (q8_0 where the matrices are quantised,
  // else their type) or a type as above. A folder keeps the source's.
  std::string embedding_dtype = "auto";
  // Folders of LoRA adapters in PEFT's format, whose changes are added to the weights first
  // (docs/lora.md).
  std::vector<std::string> lora = {};
  // Replace what is there. Only a model is ever replaced: a folder with config.json, or a file.
  bool overwrite = false;
  // As in LlmConfig.
  int threads = 0;
};

// Types by the names they have in GGUF files.
inline constexpr const char* kGgufDtypes[] = {"q8_0", "q4_0", "q4_1", "q4_k"};

// What quantize_model wrote.
struct QuantizeReport {
  int64_t source_bytes = 0;  // of all tensors
  int64_t bytes = 0;
  int quantized_tensors = 0;       // also those that were as small already
  int other_tensors = 0;           // kept in the type they had
  std::vector<std::string> notes;  // sentences for the user: what was left out, and why
};

// Writes the model at `source`, a folder or a GGUF file, with its matrices in another type
// (docs/quantization.md):
//
//   - as a GGUF file where `target` ends with ".gguf", for any engine that reads them;
//   - else as a folder of safetensors and a config.json that says how they are to be read. Loaded
//     without a dtype it gives the logits that loading `source` with this dtype gives. Matrices
//     that the file cannot hold so stay as they were, and are quantised when it is loaded.
//
// The target appears whole or not at all. An exception of `progress` ends the work and is thrown
// here. Throws Error: as LLM::load for `source`; kInvalidArgument for a type that is not known, or
// a target that is there; kUnsupported for a model that the target cannot hold; kIo (disk full).
QuantizeReport quantize_model(const std::string& source, const std::string& target,
                              const QuantizeOptions& options = {},
                              const ProgressCallback& progress = {});

}  // namespace lanner
