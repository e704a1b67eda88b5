// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "weights/config_reader.h"
#include "weights/gguf_names.h"
#include "weights/gguf_tokenizer.h"
#include "weights/gguf_writer.h"

namespace lanner {

// The architecture to write a model as. Throws Error(kUnsupported) that starts with the config's
// name and lists the model types that can be written.
const GgufArchitecture& gguf_architecture_of(const ConfigReader& config);

// The keys of an architecture, from those of config.json. Throws Error(kUnsupported) naming a key
// without a counterpart.
void put_gguf_config(const ConfigReader& config, const GgufArchitecture& architecture,
                     GgufMetadata& metadata);

// What rope_freqs.weight divides each rotary frequency by, for a llama3 scaling; else empty.
std::vector<float> gguf_rope_factors(const ConfigReader& config);

void put_gguf_tokenizer(const GgufTokenizerData& tokenizer, GgufMetadata& metadata);

// Throws Error(kUnsupported) naming the first key of `source` that has an effect and another value
// in `written`, the config that was read from the file.
void check_gguf_config(const ConfigReader& source, const ConfigReader& written);

}  // namespace lanner
