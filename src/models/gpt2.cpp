// SPDX-License-Identifier: Apache-2.0
// GPT-2 (Radford et al. 2019; HF transformers/models/gpt2): learned positions, LayerNorm, a tanh
// GELU, tied embeddings, matrices stored as [in, out].
#include <cmath>

#include "models/families.h"

namespace lanner {

DecoderSpec gpt2(const ConfigReader& c) {
  DecoderSpec spec;
  spec.hidden_size = c.required_int("n_embd");
  spec.vocab_size = c.required_int("vocab_size");
  spec.max_position = c.required_int("n_positions");
  c.optional_int("n_ctx");  // the same again
  spec.eos_token_ids = c.token_ids("eos_token_id");
  spec.optional_prefix = "transformer.";
  spec.input = {.tokens = "transformer.wte",
                .vocab_size = spec.vocab_size,
                .hidden = spec.hidden_size,
                .positions = "transformer.wpe",
                .num_positions = spec.max_position};
  spec.layers = "transformer.h";

  const NormConfig norm = layer_norm(c.optional_float("layer_norm_epsilon", 1e-5f));
  // GGUF's converter has turned them; no published config.json has the key.
  const bool transposed = c.optional_bool("transposed_weights", true);
  const bool scaled = c.optional_bool("scale_attn_weights", true);
  const bool scaled_by_layer = c.optional_bool("scale_attn_by_inverse_layer_idx", false);
  BlockConfig block;
  block.attention_norm = norm.named("ln_1");
  block.attention_name = "attn";
  AttentionConfig& attention = block.attention;
  attention.hidden = spec.hidden_size;
  attention.num_heads = attention.num_kv_heads = c.required_int("n_head");
  attention.head_dim = head_dim_of(c, "n_head", spec.hidden_size, attention.num_heads);
  attention.scale = scaled ? 1.0f / std::sqrt(static_cast<float>(attention.head_dim)) : 1.0f;
  attention.qkv_bias = attention.output_bias = true;
  attention.qkv_weights = QkvWeights::kStacked;
  attention.qkv = "c_attn";
  attention.output = "c_proj";
  attention.transposed = transposed;
  block.mlp_norm = norm.named("ln_2");
  block.mlp = {.hidden = spec.hidden_size,
               .intermediate = c.optional_int("n_inner", static_cast<int>(4 * spec.hidden_size)),
               .activation = read_activation(c, "activation_function"),
               .gated = false,
               .bias = true,
               .up = "c_fc",
               .down = "c_proj",
               .transposed = transposed};
  spec.blocks.assign(static_cast<size_t>(c.required_int("n_layer", {.max = 10'000})), block);
  if (scaled_by_layer) {
    for (size_t i = 0; i < spec.blocks.size(); ++i) {
      spec.blocks[i].attention.scale /= static_cast<float>(i + 1);
    }
  }
  spec.final_norm = norm.named("transformer.ln_f");
  spec.output = {.vocab_size = spec.vocab_size,
                 .hidden = spec.hidden_size,
                 .tied = c.optional_bool("tie_word_embeddings", true)};
  c.optional_bool("reorder_and_upcast_attn");  // scores are fp32 in any case
  return spec;
}

}  // namespace lanner
