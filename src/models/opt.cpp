// SPDX-License-Identifier: Apache-2.0
// OPT 125m … 66b (arXiv 2205.01068; HF transformers/models/opt): learned positions, LayerNorm,
// ReLU. 350m normalises after each residual sum and projects narrower token vectors in and out.
#include <algorithm>

#include "models/families.h"

namespace lanner {

DecoderSpec opt(const ConfigReader& c) {
  DecoderSpec spec = read_decoder(c, /*tied_by_default=*/true);
  spec.optional_prefix = "model.";
  spec.max_position = c.required_int("max_position_embeddings");
  spec.input.tokens = "model.decoder.embed_tokens";
  spec.input.positions = "model.decoder.embed_positions";
  spec.input.num_positions = spec.max_position;
  spec.input.position_offset = 2;
  spec.layers = "model.decoder.layers";

  const int64_t width = c.optional_int("word_embed_proj_dim", static_cast<int>(spec.hidden_size));
  if (width != spec.hidden_size) {
    spec.input.width = spec.output.width = width;
    spec.input.projection = "model.decoder.project_in";
    spec.output.projection = "model.decoder.project_out";
  }

  const bool bias = c.optional_bool("enable_bias", true);
  const bool affine = c.optional_bool("layer_norm_elementwise_affine", true);
  const bool norm_before = c.optional_bool("do_layer_norm_before", true);
  NormConfig norm = layer_norm(1e-5f);  // in no config.json
  norm.has_weight = norm.has_bias = affine;
  BlockConfig block;
  block.residual = norm_before ? Residual::kSerial : Residual::kPostNorm;
  block.attention_norm = norm.named("self_attn_layer_norm");
  block.attention = read_heads(c, spec.hidden_size);
  block.attention.qkv_bias = block.attention.output_bias = bias;
  block.attention.output = "out_proj";
  block.mlp_norm = norm.named("final_layer_norm");
  block.mlp_name = "";
  block.mlp = {.hidden = spec.hidden_size,
               .intermediate = c.required_int("ffn_dim"),
               .activation = read_activation(c, "activation_function"),
               .gated = false,
               .bias = bias,
               .up = "fc1",
               .down = "fc2"};
  std::ranges::fill(spec.blocks, block);
  if (!c.optional_bool("_remove_final_layer_norm", false) && norm_before) {
    spec.final_norm = norm.named("model.decoder.final_layer_norm");
  }
  return spec;
}

}  // namespace lanner
