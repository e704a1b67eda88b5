// SPDX-License-Identifier: Apache-2.0
// Baichuan 1 and 2, 7B and 13B (arXiv 2309.10305; the modelling code in the published folders):
// Llama with a fused QKV matrix. 7B has RoPE, 13B has ALiBi; version 2 divides each row of the
// output weights by its length.
#include <algorithm>

#include "base/error.h"
#include "models/families.h"

namespace lanner {

// No key says it. Class BaiChuanForCausalLM (capital C) is 7B of version 1; of BaichuanForCausalLM
// only the 7B files have max_position_embeddings, and 13B's have model_max_length alone.
static bool has_rope(const ConfigReader& c) {
  const auto classes = c.optional_strings("architectures");
  if (classes && !classes->empty()) {
    const std::string& name = classes->front();
    if (name == "BaiChuanForCausalLM") return true;
    if (name != "BaichuanForCausalLM") {
      throw_error(ErrorCode::kUnsupported,
                  "{}: '{}' is unknown; known: BaiChuanForCausalLM, BaichuanForCausalLM",
                  c.key_path("architectures"), name);
    }
  }
  return c.contains("max_position_embeddings");
}

DecoderSpec baichuan(const ConfigReader& c) {
  DecoderSpec spec = read_decoder(c);
  const NormConfig norm = read_rms_norm(c);
  BlockConfig block;
  block.attention_norm = norm.named("input_layernorm");
  block.attention = read_heads(c, spec.hidden_size);
  // GGUF's converter has cut the matrix; no published config.json has the key.
  if (c.optional_bool("stacked_qkv", true)) {
    block.attention.qkv_weights = QkvWeights::kStacked;
    block.attention.qkv = "W_pack";
  }
  if (has_rope(c)) {
    spec.max_position = c.required_int("max_position_embeddings");
    block.attention.rope = plain_rope(block.attention.head_dim, 10000.0, spec.max_position);
    c.optional_int("model_max_length");  // of the tokenizer: the same again
  } else {
    spec.max_position = c.required_int("model_max_length");
    block.attention.alibi = true;
  }
  block.mlp_norm = norm.named("post_attention_layernorm");
  block.mlp.hidden = spec.hidden_size;
  block.mlp.intermediate = c.required_int("intermediate_size");
  block.mlp.activation = read_activation(c, "hidden_act");
  std::ranges::fill(spec.blocks, block);
  spec.final_norm = norm.named("model.norm");
  // Of the published files the vocabulary's size tells the versions apart: 64000 and 125696.
  spec.output.unit_rows = c.optional_bool("norm_head", spec.vocab_size == 125696);
  return spec;
}

}  // namespace lanner
