// SPDX-License-Identifier: Apache-2.0
// Gemma 3, text only (arXiv 2503.19786; HF transformers/models/gemma3): Gemma 2 without caps, with
// RMSNorms on the heads of Q and K, and five windowed layers with a RoPE of their own to each
// global one.
#include "base/json.h"
#include "models/families.h"
#include "models/layer_types.h"

namespace lanner {

// Files of transformers 5 have a rope_parameters object for each type of layer.
static RopeConfig read_rope(const ConfigReader& c, int head_dim, const char* layer_type) {
  const auto by_type = c.optional_object("rope_parameters");
  if (!by_type) return RopeConfig(c, head_dim, {.theta = 1e6});
  Json merged = Json::object();
  merged["max_position_embeddings"] = c.required_int("max_position_embeddings");
  const ConfigReader of_type = by_type->required_object(layer_type);
  merged["rope_parameters"] = of_type.json();
  for (const auto& [key, value] : of_type.json().items()) of_type.ignore(key);  // read below
  const ConfigReader reader(std::move(merged), c.key_path("rope_parameters"));
  RopeConfig rope(reader, head_dim, {.theta = 1e6});
  reader.finish();
  return rope;
}

DecoderSpec gemma3_text(const ConfigReader& c) {
  DecoderSpec spec = read_gemma_like(c, {.theta = 1e6});
  read_gemma2_blocks(c, spec);
  const int window = c.required_int("sliding_window");
  const int pattern =
      c.optional_int("sliding_window_pattern", c.optional_int("_sliding_window_pattern", 6));
  const std::vector<bool> sliding =
      read_windowed_layers(c, spec.blocks.size(), [&](int i) { return (i + 1) % pattern != 0; });
  const AttentionConfig& any = spec.blocks.front().attention;
  const RopeConfig global_rope = read_rope(c, any.head_dim, "full_attention");
  RopeConfig local_rope = plain_rope(
      any.head_dim, c.optional_double("rope_local_base_freq", 10000.0), global_rope.max_position);
  if (c.contains("rope_parameters")) local_rope = read_rope(c, any.head_dim, "sliding_attention");
  for (size_t i = 0; i < spec.blocks.size(); ++i) {
    AttentionConfig& attention = spec.blocks[i].attention;
    attention.q_norm = read_gemma_norm(c).named("q_norm");
    attention.k_norm = read_gemma_norm(c).named("k_norm");
    attention.rope = sliding[i] ? local_rope : global_rope;
    if (sliding[i]) attention.sliding_window = window;
  }
  spec.max_position = global_rope.max_length();
  c.refuse_unless("use_bidirectional_attention", false);
  return spec;
}

}  // namespace lanner
