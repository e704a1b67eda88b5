// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "weights/config_reader.h"
#include "weights/generation_config.h"
#include "weights/gguf.h"

namespace lanner {

// The metadata of a GGUF file as the config.json that the HF folder of the model has: model_type,
// hidden_size, num_attention_heads, rope_theta, rope_scaling, tie_word_embeddings, ... Token ids
// are in it as well. Every "<architecture>." key is used, known to be without effect, or refused by
// name. Throws Error(kUnsupported), Error(kNotFound), Error(kCorruptFile) or
// Error(kInvalidArgument) that starts with the path.
ConfigReader read_gguf_config(const GgufFile& file);

// What generation_config.json would say: end tokens (of text, turn and message) and the recommended
// sampling parameters.
GenerationConfig read_gguf_generation_config(const GgufFile& file);

}  // namespace lanner
