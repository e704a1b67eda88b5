// SPDX-License-Identifier: Apache-2.0
// Falcon 7B, 11B, 40B, 180B and RW (arXiv 2311.16867, 2306.01116; HF transformers/models/falcon):
// multi-query attention, attention and MLP in parallel; RW is serial with ALiBi.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "models/families.h"

namespace lanner {

DecoderSpec falcon(const ConfigReader& c) {
  DecoderSpec spec = read_decoder(c, /*tied_by_default=*/true);
  const NormConfig norm = layer_norm(c.optional_float("layer_norm_epsilon", 1e-5f));
  const bool grouped = c.optional_bool("new_decoder_architecture", false);  // 40B, 180B, 11B
  const bool multi_query = c.optional_bool("multi_query", true);
  const bool bias = c.optional_bool("bias", false);
  const bool parallel = c.optional_bool("parallel_attn", true) || grouped;

  BlockConfig block;
  block.residual = parallel ? Residual::kParallel : Residual::kSerial;
  block.attention_norm = norm.named("input_layernorm");
  if (!parallel) block.mlp_norm = norm.named("post_attention_layernorm");
  const int num_norms = c.optional_int("num_ln_in_parallel_attn", grouped ? 2 : 1, {.max = 2});
  if (grouped && num_norms == 2) {
    block.attention_norm = norm.named("ln_attn");
    block.mlp_norm = norm.named("ln_mlp");
  }

  block.attention_name = "self_attention";
  AttentionConfig& attention = block.attention;
  attention.hidden = spec.hidden_size;
  attention.num_heads = c.required_int("num_attention_heads");
  attention.head_dim = head_dim_of(c, "num_attention_heads", spec.hidden_size, attention.num_heads);
  attention.scale = 1.0f / std::sqrt(static_cast<float>(attention.head_dim));
  const int num_kv_heads = c.optional_int("num_kv_heads", attention.num_heads);
  attention.num_kv_heads = grouped ? num_kv_heads : multi_query ? 1 : attention.num_heads;
  check_argument(attention.num_heads % attention.num_kv_heads == 0,
                 "{}: {} KV heads do not divide {} attention heads", c.key_path("num_kv_heads"),
                 attention.num_kv_heads, attention.num_heads);
  attention.qkv_weights = QkvWeights::kGrouped;  // with one KV head: stacked
  attention.qkv = "query_key_value";
  attention.output = "dense";
  attention.qkv_bias = attention.output_bias = bias;
  spec.max_position = c.optional_int("max_position_embeddings", 2048);
  if (c.optional_bool("alibi", false)) {
    // RW adds ALiBi before the scores are scaled, and the reference adds it twice: to the scores
    // and in its mask (docs/models_notes.md).
    attention.alibi = true;
    for (const char* key : {"rope_theta", "rope_scaling", "rope_parameters"}) c.ignore(key);
    attention.alibi_scale = 2.0f * attention.scale;
  } else {
    attention.rope = RopeConfig(c, attention.head_dim, {.max_position = spec.max_position});
    spec.max_position = 0;
  }

  block.mlp = {
      .hidden = spec.hidden_size,
      .intermediate = c.optional_int("ffn_hidden_size", static_cast<int>(4 * spec.hidden_size)),
      .activation = c.contains("activation") ? read_activation(c, "activation") : Activation::kGelu,
      .gated = false,
      .bias = bias,
      .up = "dense_h_to_4h",
      .down = "dense_4h_to_h"};
  c.refuse_unless("apply_residual_connection_post_layernorm", false);
  std::ranges::fill(spec.blocks, block);
  spec.input.tokens = "transformer.word_embeddings";
  spec.layers = "transformer.h";
  spec.final_norm = norm.named("transformer.ln_f");
  return spec;
}

}  // namespace lanner
