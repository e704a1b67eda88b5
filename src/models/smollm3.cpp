// SPDX-License-Identifier: Apache-2.0
// SmolLM3 (HF transformers/models/smollm3): Llama in which every fourth layer does not rotate Q and
// K (arXiv 2501.18795).
#include "base/error.h"
#include "models/families.h"
#include "models/layer_types.h"

namespace lanner {

DecoderSpec smollm3(const ConfigReader& c) {
  DecoderSpec spec = read_llama_like(c, /*tied_by_default=*/true, {.theta = 2e6});
  const size_t layers = spec.blocks.size();
  const int interval = c.optional_int("no_rope_layer_interval", 4);
  std::vector<int> rotates;  // what no_rope_layers[i] = 1 says, in spite of its name
  for (size_t i = 0; i < layers; ++i)
    rotates.push_back((i + 1) % static_cast<size_t>(interval) != 0);
  if (const auto given = c.optional_ints("no_rope_layers", {.min = 0, .max = 1})) {
    check_argument(given->size() == layers, "{}: {} layers, expected {}",
                   c.key_path("no_rope_layers"), given->size(), layers);
    rotates = *given;
  }
  const bool use_window = c.optional_bool("use_sliding_window", false);
  const int window = c.optional_int("sliding_window", 0);
  const std::vector<bool> windowed = read_windowed_layers(c, layers, [&](int i) {
    return use_window && window > 0 && rotates[static_cast<size_t>(i)] == 0;
  });
  const bool bias = c.optional_bool("attention_bias", false);
  const bool mlp_bias = c.optional_bool("mlp_bias", false);
  const RopeConfig rope = *spec.blocks.front().attention.rope;
  for (size_t i = 0; i < layers; ++i) {
    BlockConfig& block = spec.blocks[i];
    block.attention.qkv_bias = block.attention.output_bias = bias;
    block.mlp.bias = mlp_bias;
    if (rotates[i] == 0) block.attention.rope = std::nullopt;
    if (windowed[i]) block.attention.sliding_window = window;
  }
  spec.max_position = rope.max_length();
  return spec;
}

}  // namespace lanner
