// SPDX-License-Identifier: Apache-2.0
#include "models/decoder_spec.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace lanner {

ModelInfo model_info(const DecoderSpec& spec, std::string model_type) {
  LANNER_CHECK(!spec.blocks.empty());
  const BlockConfig& first = spec.blocks.front();
  ModelInfo info{.model_type = std::move(model_type),
                 .num_layers = static_cast<int>(spec.blocks.size()),
                 .hidden_size = spec.hidden_size,
                 .vocab_size = spec.vocab_size,
                 .max_position = spec.max_position,
                 .num_heads = first.num_heads(),
                 .num_kv_heads = first.num_kv_heads(),
                 .head_dim = first.k_head_dim(),
                 .v_head_dim = first.v_head_dim(),
                 .recompute_length = 0,
                 .eos_token_ids = spec.eos_token_ids,
                 .prefix = spec.prefix,
                 .unpacked_weights = {}};
  int reach = std::numeric_limits<int>::max();
  for (const BlockConfig& block : spec.blocks) {
    LANNER_CHECK(block.num_kv_heads() == info.num_kv_heads && block.k_head_dim() == info.head_dim &&
                 block.v_head_dim() == info.v_head_dim);
    if (!block.rope()) continue;
    reach = std::min(reach, block.rope()->max_length());
    info.recompute_length = std::max(info.recompute_length, block.rope()->recompute_length());
  }
  if (info.max_position == 0) info.max_position = reach;
  LANNER_CHECK(info.max_position < std::numeric_limits<int>::max());

  // Tied embeddings are packed as output weights, and a copy of them in the file is not read.
  info.unpacked_weights.push_back((spec.output.tied ? spec.output.name : spec.input.tokens) +
                                  ".weight");
  if (!spec.input.positions.empty())
    info.unpacked_weights.push_back(spec.input.positions + ".weight");
  if (!spec.optional_prefix.empty()) {
    std::vector<std::string> shorter;
    for (const std::string& name : info.unpacked_weights) {
      if (name.starts_with(spec.optional_prefix)) {
        shorter.push_back(name.substr(spec.optional_prefix.size()));
      }
    }
    info.unpacked_weights.insert(info.unpacked_weights.end(), shorter.begin(), shorter.end());
  }
  return info;
}

DecoderSpec read_decoder(const ConfigReader& c, bool tied_by_default) {
  DecoderSpec spec;
  spec.hidden_size = c.required_int("hidden_size");
  spec.vocab_size = c.required_int("vocab_size");
  spec.blocks.resize(static_cast<size_t>(c.required_int("num_hidden_layers", {.max = 10'000})));
  spec.output.tied = c.optional_bool("tie_word_embeddings", tied_by_default);
  spec.eos_token_ids = c.token_ids("eos_token_id");
  spec.input.vocab_size = spec.vocab_size;
  spec.input.hidden = spec.hidden_size;
  spec.output.vocab_size = spec.vocab_size;
  spec.output.hidden = spec.hidden_size;
  return spec;
}

int head_dim_of(const ConfigReader& c, const char* key, int64_t hidden, int num_heads) {
  check_argument(hidden % (int64_t{2} * num_heads) == 0,
                 "{}: {} heads do not divide hidden_size {} into heads of an even size",
                 c.key_path(key), num_heads, hidden);
  return static_cast<int>(hidden / num_heads);
}

AttentionConfig read_heads(const ConfigReader& c, int64_t hidden) {
  AttentionConfig attention;
  attention.hidden = hidden;
  attention.num_heads = c.required_int("num_attention_heads");
  attention.num_kv_heads = c.optional_int("num_key_value_heads", attention.num_heads);
  check_argument(attention.num_heads % attention.num_kv_heads == 0,
                 "{}: {} KV heads do not divide {} attention heads",
                 c.key_path("num_key_value_heads"), attention.num_kv_heads, attention.num_heads);
  if (c.contains("head_dim")) {
    attention.head_dim = c.required_int("head_dim", {.min = 2});
    check_argument(attention.head_dim % 2 == 0, "{}: is {}, expected an even number",
                   c.key_path("head_dim"), attention.head_dim);
  } else {
    attention.head_dim = head_dim_of(c, "num_attention_heads", hidden, attention.num_heads);
  }
  attention.scale = 1.0f / std::sqrt(static_cast<float>(attention.head_dim));
  return attention;
}

NormConfig read_rms_norm(const ConfigReader& c) {
  return {.name = "", .kind = NormKind::kRms, .epsilon = c.required_float("rms_norm_eps")};
}

NormConfig layer_norm(float epsilon) {
  return {.name = "", .kind = NormKind::kLayer, .epsilon = epsilon, .has_bias = true};
}

RopeConfig plain_rope(int rotary_dim, double theta, int max_position, RopeStyle style) {
  RopeConfig rope;
  rope.style = style;
  rope.rotary_dim = rotary_dim;
  rope.theta = theta;
  rope.max_position = max_position;
  rope.original_max_position = max_position;
  return rope;
}

DecoderSpec read_llama_like(const ConfigReader& c, bool tied_by_default, const RopeDefaults& rope) {
  return read_llama_like(c, read_rms_norm(c), tied_by_default, rope);
}

DecoderSpec read_llama_like(const ConfigReader& c, const NormConfig& norm, bool tied_by_default,
                            const RopeDefaults& rope) {
  DecoderSpec spec = read_decoder(c, tied_by_default);
  BlockConfig block;
  block.attention_norm = norm.named("input_layernorm");
  block.attention = read_heads(c, spec.hidden_size);
  block.attention.rope = RopeConfig(c, block.attention.head_dim, rope);
  block.mlp_norm = norm.named("post_attention_layernorm");
  block.mlp.hidden = spec.hidden_size;
  block.mlp.intermediate = c.required_int("intermediate_size");
  block.mlp.activation = read_activation(c, "hidden_act");
  std::ranges::fill(spec.blocks, block);
  spec.final_norm = norm.named("model.norm");
  return spec;
}

}  // namespace lanner
