// SPDX-License-Identifier: Apache-2.0
// The model architectures of GGUF that Lanner reads.
#include "weights/gguf_names.h"
#include "weights/gguf_tensor_names.h"

namespace lanner {
namespace {

using namespace gguf_tensors;

constexpr auto kInt = GgufConfigRow::kInt;
constexpr auto kDouble = GgufConfigRow::kDouble;
constexpr auto kBool = GgufConfigRow::kBool;
constexpr auto kCount = GgufConfigRow::kCount;

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
    {"attention.q_lora_rank", "q_lora_rank", kCount, false},
    {"attention.kv_lora_rank", "kv_lora_rank", kInt, true},
    {"leading_dense_block_count", "first_k_dense_replace", kCount, false},
    {"expert_count", "n_routed_experts", kInt, true},
    {"expert_used_count", "num_experts_per_tok", kInt, true},
    {"expert_feed_forward_length", "moe_intermediate_size", kInt, true},
    {"expert_shared_count", "n_shared_experts", kCount, false},
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
    {"expert_count", "num_local_experts", kCount, false},
    {"expert_used_count", "num_experts_per_tok", kCount, false},
};
constexpr GgufConfigRow kOlmoConfig[] = {
    {"attention.clamp_kqv", "clip_qkv", kDouble, false},
    {"attention.layer_norm_epsilon", "layer_norm_eps", kDouble, false},
};
constexpr GgufConfigRow kCohereConfig[] = {
    {"attention.layer_norm_epsilon", "layer_norm_eps", kDouble, true},
    {"logit_scale", "logit_scale", kDouble, true},
    {"attention.sliding_window", "sliding_window", kCount, false},
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

constexpr GgufConfigRow kGemmaConfig[] = {
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps", kDouble, true},
    {"attn_logit_softcapping", "attn_logit_softcapping", kDouble, false},
    {"final_logit_softcapping", "final_logit_softcapping", kDouble, false},
    {"attention.sliding_window", "sliding_window", kCount, false},
    {"rope.freq_base_swa", "rope_local_base_freq", kDouble, false},
};
constexpr GgufConfigRow kWindowConfig[] = {
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps", kDouble, true},
    {"attention.sliding_window", "sliding_window", kCount, false},
};
constexpr GgufConfigRow kLayerNormConfig[] = {
    {"attention.layer_norm_epsilon", "layer_norm_epsilon", kDouble, true},
};
constexpr GgufConfigRow kChatglmConfig[] = {
    {"attention.layer_norm_rms_epsilon", "layernorm_epsilon", kDouble, true},
};
constexpr GgufConfigRow kGlm4MoeConfig[] = {
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps", kDouble, true},
    {"leading_dense_block_count", "first_k_dense_replace", kCount, false},
    {"expert_count", "n_routed_experts", kInt, true},
    {"expert_used_count", "num_experts_per_tok", kInt, true},
    {"expert_feed_forward_length", "moe_intermediate_size", kInt, true},
    {"expert_shared_count", "n_shared_experts", kCount, false},
    {"expert_weights_scale", "routed_scaling_factor", kDouble, false},
    {"expert_weights_norm", "norm_topk_prob", kBool, false},
};
constexpr GgufConfigRow kGptOssConfig[] = {
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps", kDouble, true},
    {"attention.sliding_window", "sliding_window", kCount, false},
    {"expert_feed_forward_length", "intermediate_size", kInt, true},
    {"expert_count", "num_local_experts", kInt, true},
    {"expert_used_count", "num_experts_per_tok", kInt, true},
};

constexpr GgufRenameRow kGpt2Keys[] = {
    {"hidden_size", "n_embd"},
    {"num_hidden_layers", "n_layer"},
    {"num_attention_heads", "n_head"},
    {"max_position_embeddings", "n_positions"},
    {"intermediate_size", "n_inner"},
    {"hidden_act", "activation_function"},
    {"num_key_value_heads", ""},
    {"rope_theta", ""},
    {"head_dim", ""},
};
constexpr GgufRenameRow kFalconKeys[] = {
    {"hidden_act", "activation"},
    {"intermediate_size", "ffn_hidden_size"},
    {"num_key_value_heads", "num_kv_heads"},
    {"head_dim", ""},
};
constexpr GgufRenameRow kChatglmKeys[] = {
    {"num_hidden_layers", "num_layers"},
    {"max_position_embeddings", "seq_length"},
    {"intermediate_size", "ffn_hidden_size"},
    {"num_key_value_heads", "multi_query_group_num"},
    {"head_dim", "kv_channels"},
    {"vocab_size", "padded_vocab_size"},
    {"hidden_act", ""},
    {"rope_theta", ""},
    {"partial_rotary_factor", ""},
};

constexpr GgufFlagRow kAttentionBias[] = {{"blk.0.attn_q.bias", "attention_bias"}};
constexpr GgufFlagRow kChatglmFlags[] = {{"blk.0.attn_qkv.bias", "add_qkv_bias"}};
constexpr GgufFlagRow kGlm4MoeFlags[] = {{"blk.0.attn_q.bias", "attention_bias"},
                                         {"blk.0.attn_q_norm.weight", "use_qk_norm"}};
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
    {.name = "arcee",
     .model_type = "arcee",
     .hidden_act = "relu2",
     .tensors = {kPermutedTensors, kCommonTensors},
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
     .tensors = {kNormsPlusOne, kNormBiases, kCommonTensors},
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
    {.name = "gemma",
     .model_type = "gemma",
     .hidden_act = "gelu_pytorch_tanh",
     .tensors = {kNormsPlusOne, kCommonTensors},
     .config = {kDecoderConfig, kRmsNormConfig}},
    {.name = "gemma2",
     .model_type = "gemma2",
     .hidden_act = "gelu_pytorch_tanh",
     .tensors = {kGemma2Tensors, kNormsPlusOne, kCommonTensors},
     .config = {kDecoderConfig, kGemmaConfig}},
    {.name = "gemma3",
     .model_type = "gemma3_text",
     .hidden_act = "gelu_pytorch_tanh",
     .tensors = {kGemma2Tensors, kNormsPlusOne, kCommonTensors},
     .config = {kDecoderConfig, kGemmaConfig}},
    {.name = "phi3",
     .model_type = "phi3",
     .hidden_act = "silu",
     .tensors = {kPhi3Tensors, kCommonTensors},
     .config = {kDecoderConfig, kWindowConfig},
     .partial_rope = true},
    {.name = "gpt2",
     .model_type = "gpt2",
     .hidden_act = "gelu_new",
     .tensors = {kGpt2Tensors},
     .config = {kDecoderConfig, kLayerNormConfig},
     .renames = kGpt2Keys,
     .fixed = R"({"transposed_weights": false})"},
    {.name = "falcon",
     .model_type = "falcon",
     .hidden_act = "gelu",
     .tensors = {kTwoNormFalconTensors, kFalconTensors},
     .config = {kDecoderConfig, kLayerNormConfig},
     .with_tensor = "blk.0.attn_norm_2.weight",
     .renames = kFalconKeys,
     .fixed = R"({"new_decoder_architecture": true, "num_ln_in_parallel_attn": 2})"},
    {.name = "falcon",
     .model_type = "falcon",
     .hidden_act = "gelu",
     .tensors = {kFalconTensors},
     .config = {kDecoderConfig, kLayerNormConfig},
     .renames = kFalconKeys,
     .fixed = R"({"new_decoder_architecture": true, "num_ln_in_parallel_attn": 1})"},
    {.name = "chatglm",
     .model_type = "chatglm",
     .hidden_act = "silu",
     .tensors = {kChatglmTensors},
     .config = {kDecoderConfig, kChatglmConfig},
     .with_tensor = "blk.0.attn_qkv.weight",
     .flags = kChatglmFlags,
     .partial_rope = true,
     .renames = kChatglmKeys,
     .fixed = R"({"multi_query_attention": true})"},
    {.name = "chatglm",
     .model_type = "glm",
     .hidden_act = "silu",
     .tensors = {kGlmTensors, kQkvBiases, kCommonTensors},
     .config = {kDecoderConfig, kRmsNormConfig},
     .flags = kAttentionBias,
     .partial_rope = true},
    {.name = "glm4",
     .model_type = "glm4",
     .hidden_act = "silu",
     .tensors = {kGlmTensors, kQkvBiases, kCommonTensors},
     .config = {kDecoderConfig, kRmsNormConfig},
     .flags = kAttentionBias,
     .partial_rope = true},
    {.name = "glm4moe",
     .model_type = "glm4_moe",
     .hidden_act = "silu",
     .tensors = {kGlm4MoeTensors, kExpertTensors, kCommonTensors},
     .config = {kDecoderConfig, kGlm4MoeConfig},
     .flags = kGlm4MoeFlags,
     .partial_rope = true},
    {.name = "baichuan",
     .model_type = "baichuan",
     .hidden_act = "silu",
     .tensors = {kPermutedTensors, kCommonTensors},
     .config = {kDecoderConfig, kRmsNormConfig},
     .fixed = R"({"stacked_qkv": false})"},
    {.name = "gpt-oss",
     .model_type = "gpt_oss",
     .hidden_act = "silu",
     .tensors = {kGptOssTensors, kExpertTensors, kCommonTensors},
     .config = {kDecoderConfig, kGptOssConfig}},
    {.name = "exaone4",
     .model_type = "exaone4",
     .hidden_act = "silu",
     .tensors = {kPostNormTensors, kQkNorms, kCommonTensors},
     .config = {kDecoderConfig, kWindowConfig}},
};

}  // namespace

std::span<const GgufArchitecture> gguf_architectures() { return kArchitectures; }

}  // namespace lanner
