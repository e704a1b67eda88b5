// SPDX-License-Identifier: Apache-2.0
// Qwen 1 (arXiv 2309.16609; the modelling code in the published folders): RMSNorm, RoPE whose base
// grows with the prompt (dynamic NTK), queries that grow with the logarithm of their position, and
// a gated MLP whose activation is on the second matrix.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "models/families.h"

namespace lanner {

DecoderSpec qwen(const ConfigReader& c) {
  DecoderSpec spec = read_decoder(c);
  const NormConfig norm{.name = "", .epsilon = c.required_float("layer_norm_epsilon")};
  const bool bias = !c.optional_bool("no_bias", true);
  const int trained = c.required_int("seq_length");
  BlockConfig block;
  block.attention_norm = norm.named("ln_1");
  block.attention_name = "attn";
  AttentionConfig& attention = block.attention;
  attention.hidden = spec.hidden_size;
  attention.num_heads = attention.num_kv_heads = c.required_int("num_attention_heads");
  attention.head_dim = c.required_int("kv_channels", {.min = 2});
  const double turned = attention.head_dim * c.optional_double("rotary_pct", 1.0, {.max = 1.0});
  const int rotary_dim = static_cast<int>(turned);
  check_argument(attention.head_dim % 2 == 0, "{}: is {}, expected an even number",
                 c.key_path("kv_channels"), attention.head_dim);
  check_argument(rotary_dim >= 2 && rotary_dim % 2 == 0,
                 "{}: rotates {} of {} elements of a head; expected an even number of them",
                 c.key_path("rotary_pct"), rotary_dim, attention.head_dim);
  const bool scaled = c.optional_bool("scale_attn_weights", true);
  attention.scale = scaled ? 1.0f / std::sqrt(static_cast<float>(attention.head_dim)) : 1.0f;
  attention.rope = plain_rope(rotary_dim, c.optional_double("rotary_emb_base", 10000.0), trained);
  spec.max_position = std::max(trained, c.optional_int("max_position_embeddings", trained));
  if (c.optional_bool("use_dynamic_ntk", false)) attention.rope->scaling = RopeScaling::kPromptNtk;
  if (c.optional_bool("use_logn_attn", false)) attention.log_n_length = trained;
  attention.qkv_bias = true;
  attention.qkv_weights = QkvWeights::kStacked;
  attention.qkv = "c_attn";
  attention.output = "c_proj";
  attention.output_bias = bias;
  block.mlp_norm = norm.named("ln_2");
  const int width = c.required_int("intermediate_size", {.min = 2});
  check_argument(width % 2 == 0, "{}: is {}, expected an even number",
                 c.key_path("intermediate_size"), width);
  block.mlp = {.hidden = spec.hidden_size,
               .intermediate = width / 2,
               .bias = bias,
               .gate = "w2",
               .up = "w1",
               .down = "c_proj"};
  spec.blocks.assign(spec.blocks.size(), block);
  spec.input.tokens = "transformer.wte";
  spec.layers = "transformer.h";
  spec.final_norm = norm.named("transformer.ln_f");
  for (const char* key : {"use_cache_quantization", "use_cache_kernel"}) {
    c.refuse_unless(key, false);
  }
  return spec;
}

}  // namespace lanner
