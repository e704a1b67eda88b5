// SPDX-License-Identifier: Apache-2.0
// HunYuan V1, dense (HF transformers/models/hunyuan_v1_dense): Llama with an RMSNorm on each head
// of Q and K after their rotation, and a RoPE base stretched by `alpha`.
#include "models/families.h"

namespace lanner {

DecoderSpec hunyuan_v1_dense(const ConfigReader& c) {
  DecoderSpec spec = read_llama_like(c);
  const NormConfig norm = read_rms_norm(c);
  const bool bias = c.optional_bool("attention_bias", false);
  const bool mlp_bias = c.optional_bool("mlp_bias", false);
  for (BlockConfig& block : spec.blocks) {
    block.attention.qkv_bias = block.attention.output_bias = bias;
    block.mlp.bias = mlp_bias;
    block.attention.q_norm = norm.named("query_layernorm");
    block.attention.k_norm = norm.named("key_layernorm");
    block.attention.qk_norm_after_rope = true;
  }
  // What the published files say of the architecture as it is.
  c.refuse_unless("attention_head_dim", spec.blocks.front().attention.head_dim);
  c.refuse_unless("norm_type", "rms");
  c.refuse_unless("num_experts", 1);
  c.refuse_unless("use_cla", false);
  c.refuse_unless("use_mla", false);
  c.refuse_unless("use_qk_norm", true);
  c.refuse_unless("use_rotary_pos_emb", true);
  c.ignore("cla_share_factor");  // of use_cla
  c.ignore("eod_token_id");
  return spec;
}

}  // namespace lanner
