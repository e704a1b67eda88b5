// SPDX-License-Identifier: Apache-2.0
// Qwen 1.5, 2 and 2.5 (arXiv 2309.16609, 2407.10671, 2412.15115; HF transformers/models/qwen2):
// Llama with biases on Q, K and V; the upper layers may have a sliding window.
#include "models/families.h"
#include "models/layer_types.h"

namespace lanner {

DecoderSpec qwen2(const ConfigReader& c) {
  DecoderSpec spec = read_llama_like(c);
  for (BlockConfig& block : spec.blocks) block.attention.qkv_bias = true;
  read_qwen_window(c, spec);
  c.refuse_unless("use_mrope", false);
  return spec;
}

void read_qwen_window(const ConfigReader& c, DecoderSpec& spec) {
  const bool in_use = c.optional_bool("use_sliding_window", false);
  const auto window = c.optional_int("sliding_window");
  const int full_layers = c.optional_int("max_window_layers", 28, {.min = 0});
  const std::vector<bool> sliding =
      read_windowed_layers(c, spec.blocks.size(), [&](int i) { return i >= full_layers; });
  if (!in_use || !window) return;
  for (size_t i = 0; i < spec.blocks.size(); ++i) {
    if (sliding[i]) spec.blocks[i].attention.sliding_window = *window;
  }
}

}  // namespace lanner
