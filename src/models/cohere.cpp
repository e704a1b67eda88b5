// SPDX-License-Identifier: Apache-2.0
// Command R (HF transformers/models/cohere): attention and MLP in parallel on one LayerNorm without
// bias, RoPE in pairs, scaled logits; norms on the heads of Q and K in the larger sizes.
// Command R7B and A (transformers/models/cohere2): layers with a window rotate, the others neither
// rotate nor have a window.
#include <algorithm>

#include "models/families.h"
#include "models/layer_types.h"

namespace lanner {
namespace {

NormConfig read_norm(const ConfigReader& c) {
  return {
      .name = "", .kind = NormKind::kLayer, .epsilon = c.optional_float("layer_norm_eps", 1e-5f)};
}

DecoderSpec read_cohere(const ConfigReader& c, double theta) {
  DecoderSpec spec = read_llama_like(c, read_norm(c), /*tied_by_default=*/true,
                                     {.style = RopeStyle::kPairs, .theta = theta});
  const bool bias = c.optional_bool("attention_bias", false);
  for (BlockConfig& block : spec.blocks) {
    block.residual = Residual::kParallel;
    block.mlp_norm = std::nullopt;
    block.attention.qkv_bias = block.attention.output_bias = bias;
  }
  spec.output.scale = c.optional_float("logit_scale", 0.0625f);
  c.optional_int("model_max_length");  // of the tokenizer
  return spec;
}

}  // namespace

DecoderSpec cohere(const ConfigReader& c) {
  DecoderSpec spec = read_cohere(c, 500000.0);
  if (!c.optional_bool("use_qk_norm", false)) return spec;
  const NormConfig norm = read_norm(c);
  for (BlockConfig& block : spec.blocks) {
    block.attention.q_norm = norm.named("q_norm");
    block.attention.k_norm = norm.named("k_norm");
    block.attention.qk_norm_span = HeadNormSpan::kHeadOwnWeight;
  }
  return spec;
}

DecoderSpec cohere2(const ConfigReader& c) {
  DecoderSpec spec = read_cohere(c, 10000.0);
  const int window = c.optional_int("sliding_window", 4096);
  const int pattern = c.optional_int("sliding_window_pattern", 4);
  const std::vector<bool> windowed =
      read_windowed_layers(c, spec.blocks.size(), [&](int i) { return (i + 1) % pattern != 0; });
  for (size_t i = 0; i < spec.blocks.size(); ++i) {
    AttentionConfig& attention = spec.blocks[i].attention;
    if (windowed[i]) {
      attention.sliding_window = window;
    } else {
      attention.rope = std::nullopt;
    }
  }
  if (std::ranges::find(windowed, true) == windowed.end()) {
    spec.max_position = c.required_int("max_position_embeddings");
  }
  // What the published files say of the architecture as it is.
  c.refuse_unless("order_of_interleaved_layers", "local_attn_first");
  c.refuse_unless("position_embedding_type", "rope_gptj");
  c.refuse_unless("rotary_pct", 1.0);
  c.refuse_unless("use_embedding_sharing", true);
  c.refuse_unless("use_gated_activation", true);
  c.refuse_unless("use_parallel_block", true);
  c.refuse_unless("use_qk_norm", false);
  c.optional_bool("use_parallel_embedding");  // how weights are split over devices
  return spec;
}

}  // namespace lanner
