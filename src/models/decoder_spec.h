// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "layers/block.h"
#include "layers/embedding.h"
#include "layers/norm.h"
#include "layers/output_head.h"
#include "models/model.h"
#include "weights/config_reader.h"

namespace lanner {

// A decoder-only model as plain data: what a family makes of its config.json, and all that
// DecoderModel needs.
struct DecoderSpec {
  int64_t hidden_size = 0;
  int64_t vocab_size = 0;
  int max_position = 0;  // tokens a sequence can have; 0: what the blocks' RoPE reaches
  std::vector<int32_t> eos_token_ids;
  std::optional<PrefixTokens> prefix;  // a prefix-LM

  // Names in the checkpoint. Some of a family's checkpoints lack this prefix of all of them.
  std::string optional_prefix;
  InputConfig input;
  std::string layers = "model.layers";
  std::vector<BlockConfig> blocks;
  std::optional<NormConfig> final_norm;
  OutputConfig output;
};

// What the engine must know. Throws Error where the spec contradicts itself.
ModelInfo model_info(const DecoderSpec& spec, std::string model_type);

// --- For families whose config.json is in the style of transformers ---

// hidden_size, vocab_size, num_hidden_layers, tie_word_embeddings (with the family's default) and
// eos_token_id; blocks are num_hidden_layers copies of an empty one.
DecoderSpec read_decoder(const ConfigReader& config, bool tied_by_default = false);

// num_attention_heads, num_key_value_heads and head_dim, checked; scale = 1 / sqrt(head_dim).
AttentionConfig read_heads(const ConfigReader& config, int64_t hidden);

// RMSNorm with rms_norm_eps; to be named.
NormConfig read_rms_norm(const ConfigReader& config);

// The same for LayerNorm with weight and bias.
NormConfig layer_norm(float epsilon);

// hidden / num_heads; throws Error naming `key` unless that is a whole even number.
int head_dim_of(const ConfigReader& config, const char* key, int64_t hidden, int num_heads);

// RoPE without any scaling.
RopeConfig plain_rope(int rotary_dim, double theta, int max_position,
                      RopeStyle style = RopeStyle::kHalves);

// What Llama introduced and most families share: pre-norm blocks (input_layernorm,
// post_attention_layernorm) of grouped-query attention with RoPE and a gated MLP
// (intermediate_size, hidden_act), a final RMSNorm. A family changes what it does otherwise.
DecoderSpec read_llama_like(const ConfigReader& config, bool tied_by_default = false,
                            const RopeDefaults& rope = {});
// The same with another norm, to be named.
DecoderSpec read_llama_like(const ConfigReader& config, const NormConfig& norm,
                            bool tied_by_default = false, const RopeDefaults& rope = {});

}  // namespace lanner
