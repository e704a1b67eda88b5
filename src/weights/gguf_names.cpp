// SPDX-License-Identifier: Apache-2.0
#include "weights/gguf_names.h"

#include "base/error.h"
#include "weights/mapped_file.h"

namespace lanner {
namespace {

using enum GgufTransform;

// What most architectures have, under the names of most checkpoints.
constexpr GgufNameRow kCommonTensors[] = {
    {"token_embd.weight", "model.embed_tokens.weight"},
    {"output_norm.weight", "model.norm.weight"},
    {"output.weight", "lm_head.weight"},
    {"blk.#.attn_norm.weight", "model.layers.#.input_layernorm.weight"},
    {"blk.#.attn_q.weight", "model.layers.#.self_attn.q_proj.weight"},
    {"blk.#.attn_k.weight", "model.layers.#.self_attn.k_proj.weight"},
    {"blk.#.attn_v.weight", "model.layers.#.self_attn.v_proj.weight"},
    {"blk.#.attn_output.weight", "model.layers.#.self_attn.o_proj.weight"},
    {"blk.#.ffn_norm.weight", "model.layers.#.post_attention_layernorm.weight"},
    {"blk.#.ffn_gate.weight", "model.layers.#.mlp.gate_proj.weight"},
    {"blk.#.ffn_up.weight", "model.layers.#.mlp.up_proj.weight"},
    {"blk.#.ffn_down.weight", "model.layers.#.mlp.down_proj.weight"},
    {"rope_freqs.weight", "", kNotAWeight},
    // The inverse frequencies themselves, in old files: what rope_theta says anyway.
    {"blk.#.attn_rot_embd", "", kNotAWeight},
    {"blk.#.attn_rot_embd.weight", "", kNotAWeight},
};

constexpr GgufNameRow kNormBiases[] = {
    {"output_norm.bias", "model.norm.bias"},
    {"blk.#.attn_norm.bias", "model.layers.#.input_layernorm.bias"},
    {"blk.#.ffn_norm.bias", "model.layers.#.post_attention_layernorm.bias"},
};

constexpr GgufNameRow kQkvBiases[] = {
    {"blk.#.attn_q.bias", "model.layers.#.self_attn.q_proj.bias"},
    {"blk.#.attn_k.bias", "model.layers.#.self_attn.k_proj.bias"},
    {"blk.#.attn_v.bias", "model.layers.#.self_attn.v_proj.bias"},
};

constexpr GgufNameRow kQkNorms[] = {
    {"blk.#.attn_q_norm.weight", "model.layers.#.self_attn.q_norm.weight"},
    {"blk.#.attn_k_norm.weight", "model.layers.#.self_attn.k_norm.weight"},
};

// Of the architectures whose converter permutes Q and K.
constexpr GgufNameRow kPermutedTensors[] = {
    {"blk.#.attn_q.weight", "model.layers.#.self_attn.q_proj.weight", kUnpermuteQ},
    {"blk.#.attn_k.weight", "model.layers.#.self_attn.k_proj.weight", kUnpermuteK},
};

constexpr GgufNameRow kLlamaBiases[] = {
    {"blk.#.attn_q.bias", "model.layers.#.self_attn.q_proj.bias", kUnpermuteQ},
    {"blk.#.attn_k.bias", "model.layers.#.self_attn.k_proj.bias", kUnpermuteK},
    {"blk.#.attn_v.bias", "model.layers.#.self_attn.v_proj.bias"},
    {"blk.#.attn_output.bias", "model.layers.#.self_attn.o_proj.bias"},
    {"blk.#.ffn_gate.bias", "model.layers.#.mlp.gate_proj.bias"},
    {"blk.#.ffn_up.bias", "model.layers.#.mlp.up_proj.bias"},
    {"blk.#.ffn_down.bias", "model.layers.#.mlp.down_proj.bias"},
};

constexpr GgufNameRow kMixtralTensors[] = {
    {"blk.#.ffn_gate_inp.weight", "model.layers.#.block_sparse_moe.gate.weight"},
    {"blk.#.ffn_gate_exps.weight", "model.layers.#.block_sparse_moe.experts.@.w1.weight"},
    {"blk.#.ffn_up_exps.weight", "model.layers.#.block_sparse_moe.experts.@.w3.weight"},
    {"blk.#.ffn_down_exps.weight", "model.layers.#.block_sparse_moe.experts.@.w2.weight"},
};

constexpr GgufNameRow kExpertTensors[] = {
    {"blk.#.ffn_gate_inp.weight", "model.layers.#.mlp.gate.weight"},
    {"blk.#.ffn_gate_exps.weight", "model.layers.#.mlp.experts.@.gate_proj.weight"},
    {"blk.#.ffn_up_exps.weight", "model.layers.#.mlp.experts.@.up_proj.weight"},
    {"blk.#.ffn_down_exps.weight", "model.layers.#.mlp.experts.@.down_proj.weight"},
    {"blk.#.ffn_gate_inp_shexp.weight", "model.layers.#.mlp.shared_expert_gate.weight", kRow},
    {"blk.#.ffn_gate_shexp.weight", "model.layers.#.mlp.shared_expert.gate_proj.weight"},
    {"blk.#.ffn_up_shexp.weight", "model.layers.#.mlp.shared_expert.up_proj.weight"},
    {"blk.#.ffn_down_shexp.weight", "model.layers.#.mlp.shared_expert.down_proj.weight"},
};

constexpr GgufNameRow kDeepseekTensors[] = {
    {"blk.#.attn_q_a.weight", "model.layers.#.self_attn.q_a_proj.weight"},
    {"blk.#.attn_q_a_norm.weight", "model.layers.#.self_attn.q_a_layernorm.weight"},
    {"blk.#.attn_q_b.weight", "model.layers.#.self_attn.q_b_proj.weight"},
    {"blk.#.attn_kv_a_mqa.weight", "model.layers.#.self_attn.kv_a_proj_with_mqa.weight"},
    {"blk.#.attn_kv_a_norm.weight", "model.layers.#.self_attn.kv_a_layernorm.weight"},
    {"blk.#.attn_kv_b.weight", "model.layers.#.self_attn.kv_b_proj.weight"},
    // In newer files in its place, K's part transposed.
    {"blk.#.attn_k_b.weight", "model.layers.#.self_attn.k_b_proj.@.weight"},
    {"blk.#.attn_v_b.weight", "model.layers.#.self_attn.v_b_proj.@.weight"},
    {"blk.#.exp_probs_b.bias", "model.layers.#.mlp.gate.e_score_correction_bias"},
    {"blk.#.ffn_gate_shexp.weight", "model.layers.#.mlp.shared_experts.gate_proj.weight"},
    {"blk.#.ffn_up_shexp.weight", "model.layers.#.mlp.shared_experts.up_proj.weight"},
    {"blk.#.ffn_down_shexp.weight", "model.layers.#.mlp.shared_experts.down_proj.weight"},
};

constexpr GgufNameRow kGraniteMoeTensors[] = {
    {"blk.#.ffn_gate_inp.weight", "model.layers.#.block_sparse_moe.router.layer.weight"},
    {"blk.#.ffn_gate_exps.weight", "model.layers.#.block_sparse_moe.experts.@.gate_proj.weight"},
    {"blk.#.ffn_up_exps.weight", "model.layers.#.block_sparse_moe.experts.@.up_proj.weight"},
    {"blk.#.ffn_down_exps.weight", "model.layers.#.block_sparse_moe.experts.@.down_proj.weight"},
};

// OLMo 2: norms after attention and MLP.
constexpr GgufNameRow kPostNormTensors[] = {
    {"blk.#.post_attention_norm.weight", "model.layers.#.post_attention_layernorm.weight"},
    {"blk.#.post_ffw_norm.weight", "model.layers.#.post_feedforward_layernorm.weight"},
};

constexpr GgufNameRow kStablelmTensors[] = {
    {"blk.#.attn_q_norm.weight", "model.layers.#.self_attn.q_layernorm.norms.@.weight"},
    {"blk.#.attn_k_norm.weight", "model.layers.#.self_attn.k_layernorm.norms.@.weight"},
};

constexpr GgufNameRow kStarcoder2Tensors[] = {
    {"blk.#.ffn_up.weight", "model.layers.#.mlp.c_fc.weight"},
    {"blk.#.ffn_up.bias", "model.layers.#.mlp.c_fc.bias"},
    {"blk.#.ffn_down.weight", "model.layers.#.mlp.c_proj.weight"},
    {"blk.#.ffn_down.bias", "model.layers.#.mlp.c_proj.bias"},
    {"blk.#.attn_output.bias", "model.layers.#.self_attn.o_proj.bias"},
};

constexpr GgufNameRow kNemotronTensors[] = {
    {"output_norm.weight", "model.norm.weight", kSubtractOne},
    {"blk.#.attn_norm.weight", "model.layers.#.input_layernorm.weight", kSubtractOne},
    {"blk.#.ffn_norm.weight", "model.layers.#.post_attention_layernorm.weight", kSubtractOne},
};

constexpr GgufNameRow kSeedTensors[] = {
    {"blk.#.post_attention_norm.weight", "model.layers.#.post_attention_layernorm.weight"},
};

constexpr GgufNameRow kHunyuanTensors[] = {
    {"blk.#.attn_q_norm.weight", "model.layers.#.self_attn.query_layernorm.weight"},
    {"blk.#.attn_k_norm.weight", "model.layers.#.self_attn.key_layernorm.weight"},
};

constexpr auto kInt = GgufConfigRow::kInt;
constexpr auto kDouble = GgufConfigRow::kDouble;
constexpr auto kBool = GgufConfigRow::kBool;

constexpr GgufConfigRow kDecoderConfig[] = {
    {"block_count", "num_hidden_layers", kInt, true},
    {"context_length", "max_position_embeddings", kInt, true},
    {"embedding_length", "hidden_size", kInt, true},
    {"feed_forward_length", "intermediate_size", kInt, true},
    {"attention.head_count", "num_attention_heads", kInt, true},
    {"attention.head_count_kv", "num_key_value_heads", kInt, false},
    {"rope.freq_base", "rope_theta", kDouble, false},
};
constexpr GgufConfigRow kRmsNormConfig[] = {
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps", kDouble, true},
};
constexpr GgufConfigRow kMixtralConfig[] = {
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps", kDouble, true},
    {"expert_count", "num_local_experts", kInt, true},
    {"expert_used_count", "num_experts_per_tok", kInt, true},
};
constexpr GgufConfigRow kQwenMoeConfig[] = {
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps", kDouble, true},
    {"expert_count", "num_experts", kInt, true},
    {"expert_used_count", "num_experts_per_tok", kInt, true},
    {"expert_feed_forward_length", "moe_intermediate_size", kInt, true},
    {"expert_shared_feed_forward_length", "shared_expert_intermediate_size", kInt, false},
};
constexpr GgufConfigRow kDeepseekConfig[] = {
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps", kDouble, true},
    {"attention.q_lora_rank", "q_lora_rank", kInt, false},
    {"attention.kv_lora_rank", "kv_lora_rank", kInt, true},
    {"leading_dense_block_count", "first_k_dense_replace", kInt, false},
    {"expert_count", "n_routed_experts", kInt, true},
    {"expert_used_count", "num_experts_per_tok", kInt, true},
    {"expert_feed_forward_length", "moe_intermediate_size", kInt, true},
    {"expert_shared_count", "n_shared_experts", kInt, false},
    {"expert_weights_scale", "routed_scaling_factor", kDouble, false},
    {"expert_weights_norm", "norm_topk_prob", kBool, false},
};
constexpr GgufConfigRow kOlmoeConfig[] = {
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps", kDouble, true},
    {"expert_count", "num_experts", kInt, true},
    {"expert_used_count", "num_experts_per_tok", kInt, true},
};
constexpr GgufConfigRow kGraniteConfig[] = {
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps", kDouble, true},
    {"attention.scale", "attention_multiplier", kDouble, true},
    {"embedding_scale", "embedding_multiplier", kDouble, false},
    {"residual_scale", "residual_multiplier", kDouble, false},
    {"logit_scale", "logits_scaling", kDouble, false},
    {"expert_count", "num_local_experts", kInt, false},
    {"expert_used_count", "num_experts_per_tok", kInt, false},
};
constexpr GgufConfigRow kOlmoConfig[] = {
    {"attention.clamp_kqv", "clip_qkv", kDouble, false},
    {"attention.layer_norm_epsilon", "layer_norm_eps", kDouble, false},
};
constexpr GgufConfigRow kCohereConfig[] = {
    {"attention.layer_norm_epsilon", "layer_norm_eps", kDouble, true},
    {"logit_scale", "logit_scale", kDouble, true},
    {"attention.sliding_window", "sliding_window", kInt, false},
};
constexpr GgufConfigRow kStablelmConfig[] = {
    {"attention.layer_norm_epsilon", "layer_norm_eps", kDouble, true},
    {"use_parallel_residual", "use_parallel_residual", kBool, false},
};
constexpr GgufConfigRow kStarcoder2Config[] = {
    {"attention.layer_norm_epsilon", "norm_epsilon", kDouble, true},
};
constexpr GgufConfigRow kNemotronConfig[] = {
    {"attention.layer_norm_epsilon", "norm_eps", kDouble, true},
};

constexpr GgufFlagRow kAttentionBias[] = {{"blk.0.attn_q.bias", "attention_bias"}};
constexpr GgufFlagRow kCohereFlags[] = {{"blk.0.attn_q_norm.weight", "use_qk_norm"}};
constexpr GgufFlagRow kStablelmFlags[] = {{"blk.0.attn_q.bias", "use_qkv_bias"},
                                          {"blk.0.attn_q_norm.weight", "qk_layernorm"}};
constexpr GgufFlagRow kUseBias[] = {{"blk.0.attn_q.bias", "use_bias"}};

constexpr GgufArchitecture kArchitectures[] = {
    {.name = "llama",
     .model_type = "mixtral",
     .hidden_act = "silu",
     .tensors = {kMixtralTensors, kPermutedTensors, kCommonTensors},
     .config = {kDecoderConfig, kMixtralConfig},
     .with_tensor = "blk.0.ffn_gate_inp.weight"},
    {.name = "llama",
     .model_type = "llama",
     .hidden_act = "silu",
     .tensors = {kPermutedTensors, kLlamaBiases, kCommonTensors},
     .config = {kDecoderConfig, kRmsNormConfig}},
    // The converter cuts wqkv into Q, K and V: what is left is Llama.
    {.name = "internlm2",
     .model_type = "llama",
     .hidden_act = "silu",
     .tensors = {kPermutedTensors, kLlamaBiases, kCommonTensors},
     .config = {kDecoderConfig, kRmsNormConfig}},
    {.name = "qwen2",
     .model_type = "qwen2",
     .hidden_act = "silu",
     .tensors = {kQkvBiases, kCommonTensors},
     .config = {kDecoderConfig, kRmsNormConfig}},
    {.name = "qwen3",
     .model_type = "qwen3",
     .hidden_act = "silu",
     .tensors = {kQkNorms, kCommonTensors},
     .config = {kDecoderConfig, kRmsNormConfig}},
    {.name = "qwen2moe",
     .model_type = "qwen2_moe",
     .hidden_act = "silu",
     .tensors = {kExpertTensors, kQkvBiases, kCommonTensors},
     .config = {kDecoderConfig, kQwenMoeConfig},
     .fixed = R"({"norm_topk_prob": false})"},
    {.name = "qwen3moe",
     .model_type = "qwen3_moe",
     .hidden_act = "silu",
     .tensors = {kExpertTensors, kQkNorms, kCommonTensors},
     .config = {kDecoderConfig, kQwenMoeConfig},
     .fixed = R"({"norm_topk_prob": true})"},
    {.name = "deepseek2",
     .model_type = "deepseek_v2",
     .hidden_act = "silu",
     .tensors = {kDeepseekTensors, kExpertTensors, kCommonTensors},
     .config = {kDecoderConfig, kDeepseekConfig},
     .latent_attention = true},
    {.name = "olmoe",
     .model_type = "olmoe",
     .hidden_act = "silu",
     .tensors = {kExpertTensors, kQkNorms, kCommonTensors},
     .config = {kDecoderConfig, kOlmoeConfig}},
    {.name = "olmo",
     .model_type = "olmo",
     .hidden_act = "silu",
     .tensors = {kPermutedTensors, kCommonTensors},
     .config = {kDecoderConfig, kOlmoConfig}},
    {.name = "olmo2",
     .model_type = "olmo2",
     .hidden_act = "silu",
     .tensors = {kPostNormTensors, kQkNorms, kCommonTensors},
     .config = {kDecoderConfig, kRmsNormConfig}},
    {.name = "granite",
     .model_type = "granite",
     .hidden_act = "silu",
     .tensors = {kPermutedTensors, kCommonTensors},
     .config = {kDecoderConfig, kGraniteConfig}},
    {.name = "granitemoe",
     .model_type = "granitemoe",
     .hidden_act = "silu",
     .tensors = {kGraniteMoeTensors, kPermutedTensors, kCommonTensors},
     .config = {kDecoderConfig, kGraniteConfig}},
    {.name = "command-r",
     .model_type = "cohere",
     .hidden_act = "silu",
     .tensors = {kQkNorms, kCommonTensors},
     .config = {kDecoderConfig, kCohereConfig},
     .flags = kCohereFlags},
    {.name = "cohere2",
     .model_type = "cohere2",
     .hidden_act = "silu",
     .tensors = {kCommonTensors},
     .config = {kDecoderConfig, kCohereConfig}},
    {.name = "stablelm",
     .model_type = "stablelm",
     .hidden_act = "silu",
     .tensors = {kStablelmTensors, kQkvBiases, kNormBiases, kCommonTensors},
     .config = {kDecoderConfig, kStablelmConfig},
     .flags = kStablelmFlags,
     .partial_rope = true},
    {.name = "starcoder2",
     .model_type = "starcoder2",
     .hidden_act = "gelu_pytorch_tanh",
     .tensors = {kStarcoder2Tensors, kQkvBiases, kNormBiases, kCommonTensors},
     .config = {kDecoderConfig, kStarcoder2Config},
     .flags = kUseBias},
    {.name = "nemotron",
     .model_type = "nemotron",
     .hidden_act = "relu2",
     .tensors = {kNemotronTensors, kNormBiases, kCommonTensors},
     .config = {kDecoderConfig, kNemotronConfig},
     .partial_rope = true},
    {.name = "seed_oss",
     .model_type = "seed_oss",
     .hidden_act = "silu",
     .tensors = {kSeedTensors, kQkvBiases, kCommonTensors},
     .config = {kDecoderConfig, kRmsNormConfig},
     .flags = kAttentionBias},
    {.name = "smollm3",
     .model_type = "smollm3",
     .hidden_act = "silu",
     .tensors = {kPermutedTensors, kCommonTensors},
     .config = {kDecoderConfig, kRmsNormConfig}},
    {.name = "ernie4_5",
     .model_type = "ernie4_5",
     .hidden_act = "silu",
     .tensors = {kCommonTensors},
     .config = {kDecoderConfig, kRmsNormConfig}},
    {.name = "hunyuan-dense",
     .model_type = "hunyuan_v1_dense",
     .hidden_act = "silu",
     .tensors = {kHunyuanTensors, kCommonTensors},
     .config = {kDecoderConfig, kRmsNormConfig}},
};

// Fits the pattern to the name; the digits that stand for '#' go to `layer`.
bool fits(std::string_view pattern, std::string_view name, std::string_view& layer) {
  const size_t hash = pattern.find('#');
  if (hash == std::string_view::npos) return pattern == name;
  const std::string_view front = pattern.substr(0, hash);
  const std::string_view back = pattern.substr(hash + 1);
  if (name.size() <= front.size() + back.size() || !name.starts_with(front) ||
      !name.ends_with(back)) {
    return false;
  }
  layer = name.substr(front.size(), name.size() - front.size() - back.size());
  return layer.size() <= 6 && layer.find_first_not_of("0123456789") == std::string_view::npos &&
         (layer.size() == 1 || layer[0] != '0');
}

}  // namespace

std::span<const GgufArchitecture> gguf_architectures() { return kArchitectures; }

const GgufArchitecture& find_gguf_architecture(const GgufFile& file) {
  const std::string name = file.required_string("general.architecture");
  std::string known;
  for (const GgufArchitecture& architecture : kArchitectures) {
    const std::string_view marker = architecture.with_tensor;
    if (architecture.name == name && (marker.empty() || file.find_tensor(marker) != nullptr)) {
      return architecture;
    }
    if (!marker.empty()) continue;
    if (!known.empty()) known += ", ";
    known += architecture.name;
  }
  throw_error(ErrorCode::kUnsupported, "{}: GGUF architecture {} is not supported; known: {}",
              file.path(), quote_name(name), known);
}

std::optional<HfTensorName> hf_tensor_name(const GgufArchitecture& architecture,
                                           std::string_view gguf_name) {
  for (const std::span<const GgufNameRow> rows : architecture.tensors) {
    for (const GgufNameRow& row : rows) {
      std::string_view layer;
      if (!fits(row.gguf, gguf_name, layer)) continue;
      std::string name(row.hf);
      if (const size_t hash = name.find('#'); hash != std::string::npos) {
        name.replace(hash, 1, layer);
      }
      return HfTensorName{std::move(name), row.transform};
    }
  }
  return std::nullopt;
}

}  // namespace lanner
