// SPDX-License-Identifier: Apache-2.0
// Gemma 1 (arXiv 2403.08295; HF transformers/models/gemma): Llama with token vectors multiplied by
// sqrt(hidden_size), norm weights stored less one, a GELU gate and tied embeddings.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "models/families.h"

namespace lanner {

DecoderSpec gemma(const ConfigReader& c) { return read_gemma_like(c, {}); }

// Old files say "gelu" and mean its tanh form (HF modeling_gemma.py).
static Activation read_gemma_activation(const ConfigReader& c) {
  for (const char* key : {"hidden_act", "hidden_activation"}) {
    if (!c.contains(key)) continue;
    const Activation activation = read_activation(c, key);
    if (activation != Activation::kGelu && activation != Activation::kGeluTanh) {
      throw_error(ErrorCode::kUnsupported, "{}: is '{}', only gelu_pytorch_tanh is supported",
                  c.key_path(key), c.required_string(key));
    }
  }
  return Activation::kGeluTanh;
}

NormConfig read_gemma_norm(const ConfigReader& c) {
  NormConfig norm = read_rms_norm(c);
  norm.weight_offset = 1.0f;
  return norm;
}

DecoderSpec read_gemma_like(const ConfigReader& c, const RopeDefaults& rope) {
  DecoderSpec spec = read_decoder(c, /*tied_by_default=*/true);
  spec.input.scale = std::sqrt(static_cast<float>(spec.hidden_size));
  const NormConfig norm = read_gemma_norm(c);
  BlockConfig block;
  block.attention_norm = norm.named("input_layernorm");
  block.attention = read_heads(c, spec.hidden_size);
  c.required_int("head_dim");
  block.attention.qkv_bias = block.attention.output_bias = c.optional_bool("attention_bias", false);
  block.attention.rope = RopeConfig(c, block.attention.head_dim, rope);
  block.mlp_norm = norm.named("post_attention_layernorm");
  block.mlp.hidden = spec.hidden_size;
  block.mlp.intermediate = c.required_int("intermediate_size");
  block.mlp.activation = read_gemma_activation(c);
  std::ranges::fill(spec.blocks, block);
  spec.final_norm = norm.named("model.norm");
  return spec;
}

}  // namespace lanner
