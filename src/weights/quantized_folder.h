// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/thread_pool.h"
#include "lanner/quantize.h"
#include "weights/model_files.h"

namespace lanner {

// Of a folder that was made of a GGUF file: its vocabulary, a GGUF file without tensors.
inline constexpr const char* kVocabularyFile = "tokenizer.gguf";

// Writes the model into an empty folder: config.json, model.safetensors, and copies of the other
// files that a model folder has. With fp32, fp16 or bf16 it is a checkpoint like any other, all its
// matrices of that type; with others as QuantizedFormat says. Throws Error(kIo),
// Error(kUnsupported).
QuantizeReport write_quantized_folder(const ModelFiles& files, DType dtype,
                                      const std::string& folder, ThreadPool& threads,
                                      const ProgressCallback& progress);

}  // namespace lanner
