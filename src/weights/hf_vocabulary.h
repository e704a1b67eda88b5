// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "weights/generation_config.h"
#include "weights/gguf_tokenizer.h"

namespace lanner {

// The tokenizer of a Hugging Face folder as a GGUF file holds it: that of a tokenizer.json whose
// model is byte-level BPE with one of the known ways to cut text, or BPE over characters with bytes
// to fall back on (Llama 2); the roles and the chat template of tokenizer_config.json; end tokens
// of `generation`. Padded to `vocab_size` tokens. Nothing for a folder without tokenizer files.
// Throws Error(kUnsupported) naming what GGUF has no way to say, Error(kCorruptFile) naming the
// key.
std::optional<GgufTokenizerData> read_hf_vocabulary(const std::string& folder, int64_t vocab_size,
                                                    const GenerationConfig& generation);

}  // namespace lanner
