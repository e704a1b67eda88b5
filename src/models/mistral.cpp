// SPDX-License-Identifier: Apache-2.0
// Mistral 7B, Nemo, Small (arXiv 2310.06825; HF transformers/models/mistral): Llama with a sliding
// window in all layers, where config.json has one.
#include "models/families.h"

namespace lanner {

DecoderSpec mistral(const ConfigReader& c) {
  DecoderSpec spec = read_llama_like(c);
  const int window = c.optional_int("sliding_window", 0);
  for (BlockConfig& block : spec.blocks) block.attention.sliding_window = window;
  return spec;
}

}  // namespace lanner
