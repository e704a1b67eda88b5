// SPDX-License-Identifier: Apache-2.0
// ChatGLM-6B (arXiv 2103.10360, 2210.02414; the modelling code in the published folder). A text is
// a context that ends with [gMASK] <sop>, and what follows. Tokens of the context see each other in
// both directions; positions are pairs, each turning its own half of a head; the residual is the
// normed input times sqrt(2 num_layers).
#include <cmath>

#include "base/error.h"
#include "models/families.h"

namespace lanner {

DecoderSpec chatglm1(const ConfigReader& c) {
  DecoderSpec spec;
  spec.hidden_size = c.required_int("hidden_size");
  spec.vocab_size = c.required_int("vocab_size");
  spec.max_position = c.required_int("max_sequence_length");
  spec.eos_token_ids = c.token_ids("eos_token_id");
  c.refuse_unless("position_encoding_2d", true);
  const int num_layers = c.required_int("num_layers", {.max = 10'000});
  c.refuse_unless("num_hidden_layers", num_layers);
  // The context is what stands before the first <sop>; all positions from there on are that of the
  // [gMASK], or else of the [MASK].
  constexpr IntRange kId{.min = 0};
  spec.prefix = PrefixTokens{
      .start = c.required_int("bos_token_id", kId),
      .masks = {c.required_int("gmask_token_id", kId), c.required_int("mask_token_id", kId)}};
  spec.input = {.tokens = "transformer.word_embeddings",
                .vocab_size = spec.vocab_size,
                .hidden = spec.hidden_size};

  const NormConfig norm = layer_norm(c.required_float("layernorm_epsilon"));
  BlockConfig block;
  block.residual = Residual::kNormedInput;
  block.input_scale = std::sqrt(2.0f * static_cast<float>(num_layers));
  block.attention_norm = norm.named("input_layernorm");
  block.attention_name = "attention";
  AttentionConfig& attention = block.attention;
  attention.hidden = spec.hidden_size;
  attention.num_heads = attention.num_kv_heads = c.required_int("num_attention_heads");
  attention.head_dim = head_dim_of(c, "num_attention_heads", spec.hidden_size, attention.num_heads);
  check_argument(attention.head_dim % 4 == 0,
                 "{}: heads of {} elements have no two halves of pairs to turn",
                 c.key_path("num_attention_heads"), attention.head_dim);
  attention.scale = 1.0f / std::sqrt(static_cast<float>(attention.head_dim));
  attention.rope = plain_rope(attention.head_dim / 2, 10000.0, spec.max_position);
  attention.rope->fp16_frequencies = true;  // as the published code keeps them
  attention.rope->block_positions = true;
  attention.qkv_bias = attention.output_bias = true;
  attention.qkv_weights = QkvWeights::kGrouped;
  attention.qkv = "query_key_value";
  attention.output = "dense";
  block.mlp_norm = norm.named("post_attention_layernorm");
  block.mlp = {
      .hidden = spec.hidden_size,
      .intermediate = c.optional_int("inner_hidden_size", static_cast<int>(4 * spec.hidden_size)),
      .activation = Activation::kGeluTanh,
      .gated = false,
      .bias = true,
      .up = "dense_h_to_4h",
      .down = "dense_4h_to_h"};
  spec.layers = "transformer.layers";
  spec.blocks.assign(static_cast<size_t>(num_layers), block);
  spec.final_norm = norm.named("transformer.final_layernorm");
  spec.output = {.vocab_size = spec.vocab_size, .hidden = spec.hidden_size};
  return spec;
}

}  // namespace lanner
