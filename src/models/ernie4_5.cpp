// SPDX-License-Identifier: Apache-2.0
// ERNIE 4.5, dense (HF transformers/models/ernie4_5): Llama with RoPE in pairs.
#include "models/families.h"

namespace lanner {

DecoderSpec ernie4_5(const ConfigReader& c) {
  DecoderSpec spec =
      read_llama_like(c, /*tied_by_default=*/true, {.style = RopeStyle::kPairs, .theta = 500000.0});
  const bool bias = c.optional_bool("use_bias", false);
  for (BlockConfig& block : spec.blocks) {
    block.attention.qkv_bias = block.attention.output_bias = bias;
    block.mlp.bias = bias;
  }
  return spec;
}

}  // namespace lanner
