// SPDX-License-Identifier: Apache-2.0
// ChatGLM2, ChatGLM3 and GLM-4-9B (arXiv 2406.12793; the modelling code in the published folders):
// grouped-query attention with RoPE in pairs over half of each head, a fused SwiGLU. The first
// version of the same model_type is in chatglm1.cpp.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "models/families.h"

namespace lanner {
namespace {

// P-tuning and quantisation of the published code.
void refuse_extras(const ConfigReader& c) {
  c.refuse_unless("pre_seq_len", 0);
  c.refuse_unless("prefix_projection", false);
  c.refuse_unless("quantization_bit", 0);
  c.refuse_unless("quantization_embeddings", false);
  c.refuse_unless("tie_word_embeddings", false);
}

}  // namespace

DecoderSpec chatglm(const ConfigReader& c) {
  refuse_extras(c);
  if (c.contains("position_encoding_2d") || c.contains("inner_hidden_size")) return chatglm1(c);

  DecoderSpec spec;
  spec.hidden_size = c.required_int("hidden_size");
  spec.vocab_size = c.required_int("padded_vocab_size");
  c.refuse_unless("vocab_size", static_cast<int>(spec.vocab_size));
  spec.eos_token_ids = c.token_ids("eos_token_id");
  const int num_layers = c.required_int("num_layers", {.max = 10'000});
  c.refuse_unless("num_hidden_layers", num_layers);
  spec.input = {.tokens = "transformer.embedding.word_embeddings",
                .vocab_size = spec.vocab_size,
                .hidden = spec.hidden_size};

  NormConfig norm = layer_norm(c.required_float("layernorm_epsilon"));
  if (c.optional_bool("rmsnorm", true)) {
    norm.kind = NormKind::kRms;
    norm.has_bias = false;
  }
  const bool bias = c.optional_bool("add_bias_linear", false);
  const bool qkv_bias = c.optional_bool("add_qkv_bias", false);
  BlockConfig block;
  block.residual = c.optional_bool("apply_residual_connection_post_layernorm", false)
                       ? Residual::kNormedInput
                       : Residual::kSerial;
  block.attention_norm = norm.named("input_layernorm");
  block.attention_name = "self_attention";
  AttentionConfig& attention = block.attention;
  attention.hidden = spec.hidden_size;
  attention.num_heads = c.required_int("num_attention_heads");
  const int groups = c.optional_int("multi_query_group_num", 1);
  attention.num_kv_heads =
      c.optional_bool("multi_query_attention", false) ? groups : attention.num_heads;
  check_argument(attention.num_heads % attention.num_kv_heads == 0,
                 "{}: {} KV heads do not divide {} attention heads",
                 c.key_path("multi_query_group_num"), attention.num_kv_heads, attention.num_heads);
  attention.head_dim = c.required_int("kv_channels", {.min = 4});
  check_argument(attention.head_dim % 4 == 0, "{}: is {}, expected a multiple of 4",
                 c.key_path("kv_channels"), attention.head_dim);
  attention.scale = 1.0f / std::sqrt(static_cast<float>(attention.head_dim));
  attention.rope =
      plain_rope(attention.head_dim / 2, 10000.0 * c.optional_double("rope_ratio", 1.0),
                 c.required_int("seq_length"), RopeStyle::kPairs);
  c.optional_bool("original_rope", true);  // the published code has one way to rotate
  c.refuse_unless("interleaved_qkv", false);
  attention.qkv_weights = QkvWeights::kStacked;
  attention.qkv = "query_key_value";
  attention.qkv_bias = bias || qkv_bias;
  attention.output = "dense";
  attention.output_bias = bias;
  block.mlp_norm = norm.named("post_attention_layernorm");
  block.mlp = {.hidden = spec.hidden_size,
               .intermediate = c.required_int("ffn_hidden_size"),
               .bias = bias,
               .down = "dense_4h_to_h",
               .gate_up = "dense_h_to_4h"};
  spec.layers = "transformer.encoder.layers";
  spec.blocks.assign(static_cast<size_t>(num_layers), block);
  if (c.optional_bool("post_layer_norm", true)) {
    spec.final_norm = norm.named("transformer.encoder.final_layernorm");
  }
  spec.output = {.name = "transformer.output_layer",
                 .vocab_size = spec.vocab_size,
                 .hidden = spec.hidden_size};
  return spec;
}

}  // namespace lanner
