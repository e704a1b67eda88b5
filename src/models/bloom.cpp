// SPDX-License-Identifier: Apache-2.0
// BLOOM and BLOOMZ (arXiv 2211.05100; HF transformers/models/bloom): ALiBi, a LayerNorm on the
// token vectors, a QKV matrix grouped by head, a tanh GELU, tied embeddings.
#include <cmath>

#include "models/families.h"

namespace lanner {

// Files of different ages call the same number differently.
static int read_either(const ConfigReader& c, const char* key, const char* other) {
  if (c.contains(other)) {
    const int value = c.required_int(other, {.max = 1 << 24});
    c.refuse_unless(key, value);
    return value;
  }
  return c.required_int(key, {.max = 1 << 24});
}

DecoderSpec bloom(const ConfigReader& c) {
  DecoderSpec spec;
  spec.hidden_size = read_either(c, "hidden_size", "n_embed");
  spec.vocab_size = c.required_int("vocab_size");
  spec.eos_token_ids = c.token_ids("eos_token_id");
  spec.max_position = c.optional_int("seq_length", 2048);
  spec.optional_prefix = "transformer.";
  const NormConfig norm = layer_norm(c.optional_float("layer_norm_epsilon", 1e-5f));
  spec.input = {.tokens = "transformer.word_embeddings",
                .vocab_size = spec.vocab_size,
                .hidden = spec.hidden_size,
                .norm = norm.named("transformer.word_embeddings_layernorm")};
  spec.layers = "transformer.h";

  BlockConfig block;
  block.residual = c.optional_bool("apply_residual_connection_post_layernorm", false)
                       ? Residual::kNormedInput
                       : Residual::kSerial;
  block.attention_norm = norm.named("input_layernorm");
  block.attention_name = "self_attention";
  AttentionConfig& attention = block.attention;
  attention.hidden = spec.hidden_size;
  attention.num_heads = attention.num_kv_heads = read_either(c, "n_head", "num_attention_heads");
  attention.head_dim = head_dim_of(c, "n_head", spec.hidden_size, attention.num_heads);
  attention.scale = 1.0f / std::sqrt(static_cast<float>(attention.head_dim));
  attention.alibi = true;
  attention.qkv_bias = attention.output_bias = true;
  attention.qkv_weights = QkvWeights::kGrouped;
  attention.qkv = "query_key_value";
  attention.output = "dense";
  block.mlp_norm = norm.named("post_attention_layernorm");
  block.mlp = {.hidden = spec.hidden_size,
               .intermediate = 4 * spec.hidden_size,
               .activation = Activation::kGeluTanh,
               .gated = false,
               .bias = true,
               .up = "dense_h_to_4h",
               .down = "dense_4h_to_h"};
  c.ignore("slow_but_exact");  // the order of additions
  c.refuse_unless("n_inner", static_cast<int>(block.mlp.intermediate));
  const int layers = read_either(c, "n_layer", "num_hidden_layers");
  spec.blocks.assign(static_cast<size_t>(layers), block);
  spec.final_norm = norm.named("transformer.ln_f");
  spec.output = {.vocab_size = spec.vocab_size,
                 .hidden = spec.hidden_size,
                 .tied = c.optional_bool("tie_word_embeddings", true)};
  return spec;
}

}  // namespace lanner
