// SPDX-License-Identifier: Apache-2.0
// Gemma 2 (arXiv 2408.00118; HF transformers/models/gemma2): Gemma with norms before and after both
// halves of a block, capped scores and logits, and a sliding window in every other layer.
#include <cmath>

#include "models/families.h"
#include "models/layer_types.h"

namespace lanner {

DecoderSpec gemma2(const ConfigReader& c) {
  DecoderSpec spec = read_gemma_like(c, {});
  read_gemma2_blocks(c, spec);
  const int window = c.required_int("sliding_window");
  c.refuse_unless("sliding_window_size", window);
  const std::vector<bool> sliding =
      read_windowed_layers(c, spec.blocks.size(), [](int i) { return i % 2 == 0; });
  for (size_t i = 0; i < spec.blocks.size(); ++i) {
    if (sliding[i]) spec.blocks[i].attention.sliding_window = window;
  }
  return spec;
}

void read_gemma2_blocks(const ConfigReader& c, DecoderSpec& spec) {
  const NormConfig norm = read_gemma_norm(c);
  const float scale = 1.0f / std::sqrt(c.optional_float("query_pre_attn_scalar", 256.0f));
  const float soft_cap = c.optional_float("attn_logit_softcapping", 0.0f);
  for (BlockConfig& block : spec.blocks) {
    block.attention_output_norm = norm.named("post_attention_layernorm");
    block.mlp_norm = norm.named("pre_feedforward_layernorm");
    block.mlp_output_norm = norm.named("post_feedforward_layernorm");
    block.attention.scale = scale;
    block.attention.soft_cap = soft_cap;
  }
  spec.output.soft_cap = c.optional_float("final_logit_softcapping", 0.0f);
}

}  // namespace lanner
