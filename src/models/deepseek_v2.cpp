// SPDX-License-Identifier: Apache-2.0
// DeepSeek V2 and V2-Lite (arXiv 2405.04434; HF transformers/models/deepseek_v2): multi-head latent
// attention, and after the first layers a mixture of many small experts beside shared ones.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "models/deepseek.h"
#include "models/families.h"
#include "models/read_moe.h"

namespace lanner {

DecoderSpec read_deepseek_blocks(const ConfigReader& c, RopeStyle rope_style) {
  DecoderSpec spec = read_decoder(c);
  const NormConfig norm = read_rms_norm(c);
  LatentAttentionConfig attention;
  attention.hidden = spec.hidden_size;
  attention.num_heads = c.required_int("num_attention_heads");
  // Every head has a K and a V of its own, made from the latent.
  c.refuse_unless("num_key_value_heads", attention.num_heads);
  attention.q_rank = c.optional_int("q_lora_rank", 0);
  attention.kv_rank = c.required_int("kv_lora_rank");
  attention.nope_dim = c.required_int("qk_nope_head_dim");
  attention.rope_dim = c.required_int("qk_rope_head_dim");
  attention.v_dim = c.required_int("v_head_dim");
  check_argument(attention.rope_dim % 2 == 0 && attention.kv_rank % 2 == 0,
                 "{}: {} and kv_lora_rank {} must be even", c.key_path("qk_rope_head_dim"),
                 attention.rope_dim, attention.kv_rank);
  // Both are written by transformers, from the sizes above.
  c.refuse_unless("head_dim", attention.rope_dim);
  c.refuse_unless("qk_head_dim", attention.nope_dim + attention.rope_dim);
  attention.bias = c.optional_bool("attention_bias", false);
  attention.rope = RopeConfig(c, attention.rope_dim, {.style = rope_style});
  const double scale = 1.0 / std::sqrt(attention.nope_dim + attention.rope_dim);
  const double stretch = attention.rope->score_scaling;
  attention.scale = static_cast<float>(scale * stretch);
  // The reference's own default, whatever the config says of the other norms.
  attention.latent_norm = {.name = "", .kind = NormKind::kRms, .epsilon = 1e-6f};

  BlockConfig block;
  block.attention_norm = norm.named("input_layernorm");
  block.latent_attention = attention;
  block.mlp_norm = norm.named("post_attention_layernorm");
  block.mlp.hidden = spec.hidden_size;
  block.mlp.intermediate = c.required_int("intermediate_size");
  block.mlp.activation = read_activation(c, "hidden_act");
  std::ranges::fill(spec.blocks, block);
  spec.final_norm = norm.named("model.norm");
  return spec;
}

DecoderSpec deepseek_v2(const ConfigReader& c) {
  DecoderSpec spec = read_deepseek_blocks(c, RopeStyle::kPairs);
  c.refuse_unless("scoring_func", "softmax");
  const std::string method = c.optional_string("topk_method", "greedy");
  if (method != "greedy" && method != "group_limited_greedy") {
    throw_error(ErrorCode::kUnsupported, "{}: '{}' is unknown; known: greedy, group_limited_greedy",
                c.key_path("topk_method"), method);
  }
  DeepseekRouting routing;
  routing.groups = method == "group_limited_greedy";
  if (!routing.groups) {
    c.optional_int("n_group");
    c.optional_int("topk_group");
  }
  // Published models have it false, and the reference does not read it; true would also leave
  // routed_scaling_factor out in the published code.
  c.refuse_unless("norm_topk_prob", false);
  c.refuse_unless("mlp_bias", false);
  read_deepseek_experts(c, routing, spec);
  return spec;
}

}  // namespace lanner
