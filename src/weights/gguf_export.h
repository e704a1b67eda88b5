// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/thread_pool.h"
#include "lanner/quantize.h"
#include "weights/model_files.h"

namespace lanner {

// Writes the model as a GGUF file: the architectures of gguf_names.h but those with latent
// attention or names of keys of their own, with the keys that the reader knows and the tokenizer.
// `dtype`, of the matrices, and `embedding`, of the table of token vectors, are packings of
// stored_weight.h or q4_k; rows that are no whole number of blocks become q8_0 or stay what they
// are, with a note. Vectors become fp32.
//
// What was written is read again: Throws Error(kUnsupported) naming the key of config.json that a
// GGUF file has no way to say, the tensor without a place, or the tokenizer; Error(kIo).
QuantizeReport write_gguf(const ModelFiles& files, DType dtype, std::optional<DType> embedding,
                          const std::string& path, ThreadPool& threads,
                          const ProgressCallback& progress);

}  // namespace lanner
