// SPDX-License-Identifier: Apache-2.0
// What the tensors of GGUF's architectures are called in the Hugging Face checkpoints. Included by
// gguf_architectures.cpp alone.
#pragma once

#include "weights/gguf_names.h"

namespace lanner::gguf_tensors {

using enum GgufTransform;

// What most architectures have, under the names of most checkpoints.
inline constexpr GgufNameRow kCommonTensors[] = {
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

inline constexpr GgufNameRow kNormBiases[] = {
    {"output_norm.bias", "model.norm.bias"},
    {"blk.#.attn_norm.bias", "model.layers.#.input_layernorm.bias"},
    {"blk.#.ffn_norm.bias", "model.layers.#.post_attention_layernorm.bias"},
};

inline constexpr GgufNameRow kQkvBiases[] = {
    {"blk.#.attn_q.bias", "model.layers.#.self_attn.q_proj.bias"},
    {"blk.#.attn_k.bias", "model.layers.#.self_attn.k_proj.bias"},
    {"blk.#.attn_v.bias", "model.layers.#.self_attn.v_proj.bias"},
};

inline constexpr GgufNameRow kQkNorms[] = {
    {"blk.#.attn_q_norm.weight", "model.layers.#.self_attn.q_norm.weight"},
    {"blk.#.attn_k_norm.weight", "model.layers.#.self_attn.k_norm.weight"},
};

// Of the architectures whose converter permutes Q and K.
inline constexpr GgufNameRow kPermutedTensors[] = {
    {"blk.#.attn_q.weight", "model.layers.#.self_attn.q_proj.weight", kUnpermuteQ},
    {"blk.#.attn_k.weight", "model.layers.#.self_attn.k_proj.weight", kUnpermuteK},
};

inline constexpr GgufNameRow kLlamaBiases[] = {
    {"blk.#.attn_q.bias", "model.layers.#.self_attn.q_proj.bias", kUnpermuteQ},
    {"blk.#.attn_k.bias", "model.layers.#.self_attn.k_proj.bias", kUnpermuteK},
    {"blk.#.attn_v.bias", "model.layers.#.self_attn.v_proj.bias"},
    {"blk.#.attn_output.bias", "model.layers.#.self_attn.o_proj.bias"},
    {"blk.#.ffn_gate.bias", "model.layers.#.mlp.gate_proj.bias"},
    {"blk.#.ffn_up.bias", "model.layers.#.mlp.up_proj.bias"},
    {"blk.#.ffn_down.bias", "model.layers.#.mlp.down_proj.bias"},
};

inline constexpr GgufNameRow kMixtralTensors[] = {
    {"blk.#.ffn_gate_inp.weight", "model.layers.#.block_sparse_moe.gate.weight"},
    {"blk.#.ffn_gate_exps.weight", "model.layers.#.block_sparse_moe.experts.@.w1.weight"},
    {"blk.#.ffn_up_exps.weight", "model.layers.#.block_sparse_moe.experts.@.w3.weight"},
    {"blk.#.ffn_down_exps.weight", "model.layers.#.block_sparse_moe.experts.@.w2.weight"},
};

inline constexpr GgufNameRow kExpertTensors[] = {
    {"blk.#.ffn_gate_inp.weight", "model.layers.#.mlp.gate.weight"},
    {"blk.#.ffn_gate_exps.weight", "model.layers.#.mlp.experts.@.gate_proj.weight"},
    {"blk.#.ffn_up_exps.weight", "model.layers.#.mlp.experts.@.up_proj.weight"},
    {"blk.#.ffn_down_exps.weight", "model.layers.#.mlp.experts.@.down_proj.weight"},
    {"blk.#.ffn_gate_inp_shexp.weight", "model.layers.#.mlp.shared_expert_gate.weight", kRow},
    {"blk.#.ffn_gate_shexp.weight", "model.layers.#.mlp.shared_expert.gate_proj.weight"},
    {"blk.#.ffn_up_shexp.weight", "model.layers.#.mlp.shared_expert.up_proj.weight"},
    {"blk.#.ffn_down_shexp.weight", "model.layers.#.mlp.shared_expert.down_proj.weight"},
};

inline constexpr GgufNameRow kDeepseekTensors[] = {
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

inline constexpr GgufNameRow kGraniteMoeTensors[] = {
    {"blk.#.ffn_gate_inp.weight", "model.layers.#.block_sparse_moe.router.layer.weight"},
    {"blk.#.ffn_gate_exps.weight", "model.layers.#.block_sparse_moe.experts.@.gate_proj.weight"},
    {"blk.#.ffn_up_exps.weight", "model.layers.#.block_sparse_moe.experts.@.up_proj.weight"},
    {"blk.#.ffn_down_exps.weight", "model.layers.#.block_sparse_moe.experts.@.down_proj.weight"},
};

// OLMo 2: norms after attention and MLP.
inline constexpr GgufNameRow kPostNormTensors[] = {
    {"blk.#.post_attention_norm.weight", "model.layers.#.post_attention_layernorm.weight"},
    {"blk.#.post_ffw_norm.weight", "model.layers.#.post_feedforward_layernorm.weight"},
};

inline constexpr GgufNameRow kStablelmTensors[] = {
    {"blk.#.attn_q_norm.weight", "model.layers.#.self_attn.q_layernorm.norms.@.weight"},
    {"blk.#.attn_k_norm.weight", "model.layers.#.self_attn.k_layernorm.norms.@.weight"},
};

inline constexpr GgufNameRow kStarcoder2Tensors[] = {
    {"blk.#.ffn_up.weight", "model.layers.#.mlp.c_fc.weight"},
    {"blk.#.ffn_up.bias", "model.layers.#.mlp.c_fc.bias"},
    {"blk.#.ffn_down.weight", "model.layers.#.mlp.c_proj.weight"},
    {"blk.#.ffn_down.bias", "model.layers.#.mlp.c_proj.bias"},
    {"blk.#.attn_output.bias", "model.layers.#.self_attn.o_proj.bias"},
};

inline constexpr GgufNameRow kNormsPlusOne[] = {
    {"output_norm.weight", "model.norm.weight", kSubtractOne},
    {"blk.#.attn_norm.weight", "model.layers.#.input_layernorm.weight", kSubtractOne},
    {"blk.#.ffn_norm.weight", "model.layers.#.post_attention_layernorm.weight", kSubtractOne},
};

// Gemma 2 and 3: norms before and after both halves.
inline constexpr GgufNameRow kGemma2Tensors[] = {
    {"blk.#.post_attention_norm.weight", "model.layers.#.post_attention_layernorm.weight",
     kSubtractOne},
    {"blk.#.ffn_norm.weight", "model.layers.#.pre_feedforward_layernorm.weight", kSubtractOne},
    {"blk.#.post_ffw_norm.weight", "model.layers.#.post_feedforward_layernorm.weight",
     kSubtractOne},
    {"blk.#.attn_q_norm.weight", "model.layers.#.self_attn.q_norm.weight", kSubtractOne},
    {"blk.#.attn_k_norm.weight", "model.layers.#.self_attn.k_norm.weight", kSubtractOne},
};

inline constexpr GgufNameRow kPhi3Tensors[] = {
    {"blk.#.attn_qkv.weight", "model.layers.#.self_attn.qkv_proj.weight"},
    {"blk.#.ffn_up.weight", "model.layers.#.mlp.gate_up_proj.weight"},
    {"rope_factors_long.weight", "", kNotAWeight},
    {"rope_factors_short.weight", "", kNotAWeight},
};

inline constexpr GgufNameRow kGpt2Tensors[] = {
    {"token_embd.weight", "transformer.wte.weight"},
    {"position_embd.weight", "transformer.wpe.weight"},
    {"output_norm.weight", "transformer.ln_f.weight"},
    {"output_norm.bias", "transformer.ln_f.bias"},
    {"output.weight", "lm_head.weight"},
    {"blk.#.attn_norm.weight", "transformer.h.#.ln_1.weight"},
    {"blk.#.attn_norm.bias", "transformer.h.#.ln_1.bias"},
    {"blk.#.attn_qkv.weight", "transformer.h.#.attn.c_attn.weight"},
    {"blk.#.attn_qkv.bias", "transformer.h.#.attn.c_attn.bias"},
    {"blk.#.attn_output.weight", "transformer.h.#.attn.c_proj.weight"},
    {"blk.#.attn_output.bias", "transformer.h.#.attn.c_proj.bias"},
    {"blk.#.ffn_norm.weight", "transformer.h.#.ln_2.weight"},
    {"blk.#.ffn_norm.bias", "transformer.h.#.ln_2.bias"},
    {"blk.#.ffn_up.weight", "transformer.h.#.mlp.c_fc.weight"},
    {"blk.#.ffn_up.bias", "transformer.h.#.mlp.c_fc.bias"},
    {"blk.#.ffn_down.weight", "transformer.h.#.mlp.c_proj.weight"},
    {"blk.#.ffn_down.bias", "transformer.h.#.mlp.c_proj.bias"},
};

inline constexpr GgufNameRow kFalconTensors[] = {
    {"token_embd.weight", "transformer.word_embeddings.weight"},
    {"output_norm.weight", "transformer.ln_f.weight"},
    {"output_norm.bias", "transformer.ln_f.bias"},
    {"output.weight", "lm_head.weight"},
    {"blk.#.attn_norm.weight", "transformer.h.#.input_layernorm.weight"},
    {"blk.#.attn_norm.bias", "transformer.h.#.input_layernorm.bias"},
    {"blk.#.attn_qkv.weight", "transformer.h.#.self_attention.query_key_value.weight", kGroupQkv},
    {"blk.#.attn_output.weight", "transformer.h.#.self_attention.dense.weight"},
    {"blk.#.ffn_up.weight", "transformer.h.#.mlp.dense_h_to_4h.weight"},
    {"blk.#.ffn_down.weight", "transformer.h.#.mlp.dense_4h_to_h.weight"},
};

// Falcon 40B and 180B.
inline constexpr GgufNameRow kTwoNormFalconTensors[] = {
    {"blk.#.attn_norm_2.weight", "transformer.h.#.ln_attn.weight"},
    {"blk.#.attn_norm_2.bias", "transformer.h.#.ln_attn.bias"},
    {"blk.#.attn_norm.weight", "transformer.h.#.ln_mlp.weight"},
    {"blk.#.attn_norm.bias", "transformer.h.#.ln_mlp.bias"},
};

inline constexpr GgufNameRow kChatglmTensors[] = {
    {"token_embd.weight", "transformer.embedding.word_embeddings.weight"},
    {"output_norm.weight", "transformer.encoder.final_layernorm.weight"},
    {"output.weight", "transformer.output_layer.weight"},
    {"blk.#.attn_norm.weight", "transformer.encoder.layers.#.input_layernorm.weight"},
    {"blk.#.attn_qkv.weight", "transformer.encoder.layers.#.self_attention.query_key_value.weight"},
    {"blk.#.attn_qkv.bias", "transformer.encoder.layers.#.self_attention.query_key_value.bias"},
    {"blk.#.attn_output.weight", "transformer.encoder.layers.#.self_attention.dense.weight"},
    {"blk.#.ffn_norm.weight", "transformer.encoder.layers.#.post_attention_layernorm.weight"},
    {"blk.#.ffn_up.weight", "transformer.encoder.layers.#.mlp.dense_h_to_4h.weight"},
    {"blk.#.ffn_down.weight", "transformer.encoder.layers.#.mlp.dense_4h_to_h.weight"},
};

// GLM-4 in the format of transformers; the last two GLM-4-0414 only.
inline constexpr GgufNameRow kGlmTensors[] = {
    {"blk.#.ffn_up.weight", "model.layers.#.mlp.gate_up_proj.weight"},
    {"blk.#.post_attention_norm.weight", "model.layers.#.post_self_attn_layernorm.weight"},
    {"blk.#.post_ffw_norm.weight", "model.layers.#.post_mlp_layernorm.weight"},
};

inline constexpr GgufNameRow kGlm4MoeTensors[] = {
    {"blk.#.post_attention_norm.weight", "model.layers.#.post_attention_layernorm.weight"},
    {"blk.#.exp_probs_b.bias", "model.layers.#.mlp.gate.e_score_correction_bias"},
    {"blk.#.ffn_gate_shexp.weight", "model.layers.#.mlp.shared_experts.gate_proj.weight"},
    {"blk.#.ffn_up_shexp.weight", "model.layers.#.mlp.shared_experts.up_proj.weight"},
    {"blk.#.ffn_down_shexp.weight", "model.layers.#.mlp.shared_experts.down_proj.weight"},
    {"blk.#.attn_q_norm.weight", "model.layers.#.self_attn.q_norm.weight"},
    {"blk.#.attn_k_norm.weight", "model.layers.#.self_attn.k_norm.weight"},
    {"blk.#.attn_q.bias", "model.layers.#.self_attn.q_proj.bias"},
    {"blk.#.attn_k.bias", "model.layers.#.self_attn.k_proj.bias"},
    {"blk.#.attn_v.bias", "model.layers.#.self_attn.v_proj.bias"},
    // The layers that predict a further token come after the model's own and are not used.
    {"blk.#.nextn.eh_proj.weight", "", kNotAWeight},
    {"blk.#.nextn.embed_tokens.weight", "", kNotAWeight},
    {"blk.#.nextn.enorm.weight", "", kNotAWeight},
    {"blk.#.nextn.hnorm.weight", "", kNotAWeight},
    {"blk.#.nextn.shared_head_head.weight", "", kNotAWeight},
    {"blk.#.nextn.shared_head_norm.weight", "", kNotAWeight},
};

inline constexpr GgufNameRow kGptOssTensors[] = {
    {"blk.#.post_attention_norm.weight", "model.layers.#.post_attention_layernorm.weight"},
    {"blk.#.attn_sinks.weight", "model.layers.#.self_attn.sinks"},
    {"blk.#.attn_output.bias", "model.layers.#.self_attn.o_proj.bias"},
    {"blk.#.ffn_gate_inp.weight", "model.layers.#.mlp.router.weight"},
    {"blk.#.ffn_gate_inp.bias", "model.layers.#.mlp.router.bias"},
    {"blk.#.ffn_gate_exps.bias", "model.layers.#.mlp.experts.@.gate_proj.bias"},
    {"blk.#.ffn_up_exps.bias", "model.layers.#.mlp.experts.@.up_proj.bias"},
    {"blk.#.ffn_down_exps.bias", "model.layers.#.mlp.experts.@.down_proj.bias"},
    {"blk.#.attn_q.bias", "model.layers.#.self_attn.q_proj.bias"},
    {"blk.#.attn_k.bias", "model.layers.#.self_attn.k_proj.bias"},
    {"blk.#.attn_v.bias", "model.layers.#.self_attn.v_proj.bias"},
};

inline constexpr GgufNameRow kSeedTensors[] = {
    {"blk.#.post_attention_norm.weight", "model.layers.#.post_attention_layernorm.weight"},
};

inline constexpr GgufNameRow kHunyuanTensors[] = {
    {"blk.#.attn_q_norm.weight", "model.layers.#.self_attn.query_layernorm.weight"},
    {"blk.#.attn_k_norm.weight", "model.layers.#.self_attn.key_layernorm.weight"},
};

}  // namespace lanner::gguf_tensors
