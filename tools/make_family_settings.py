#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes what the reference computes for other settings of the families in tests/golden: that is
transformers, or tools/custom_code_families.py for those that transformers has no code for (which
need neither it nor torch).

Each case is a golden folder's config.json with changed keys and a small vocabulary. Its weights
are a hash of the tensor's name and the element's number (value() below, HashedCheckpoint in
tests/families/family_settings_test.cpp), so that the repository holds logits and no weights.

    pip install torch transformers safetensors numpy
    tools/make_family_settings.py tests/families/settings [NAME …]
"""
import json
import pathlib
import sys
import tempfile

import numpy as np

import custom_code_families as custom

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "tests/golden"
VOCAB = 61
LENGTH = 45
ROWS = (0, 19, LENGTH - 1)

DROP = "absent"  # the case has no such key
SMALL = {"hidden_size": 48, "intermediate_size": 56, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 128}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}
LONGROPE = {"type": "longrope", "short_factor": [1.0, 1.1, 1.3, 1.7], "long_factor": [1.5, 2.0, 3.5, 6.0]}

# name: (golden folder, changed keys). Names that end in "-saved" have the config.json that
# transformers itself writes.
SETTINGS = {
    "llama-mqa-odd": ("llama-mha", {**SMALL, "hidden_size": 60, "num_attention_heads": 5,
                                    "num_key_value_heads": 1, "mlp_bias": True}),
    "llama-gqa3-tied": ("llama-mha", {**SMALL, "num_attention_heads": 6, "head_dim": 10,
                                      "attention_bias": True, "tie_word_embeddings": True}),
    "llama-gelu": ("llama-mha", {**SMALL, "hidden_act": "gelu", "rms_norm_eps": 1e-2}),
    "llama-relu": ("llama-mha", {**SMALL, "hidden_act": "relu"}),
    "llama-gelu_new": ("llama-mha", {**SMALL, "hidden_act": "gelu_new"}),
    "llama-relu2": ("llama-mha", {**SMALL, "hidden_act": "relu2"}),
    "llama-linear": ("llama-mha", {**SMALL, "rope_scaling": {"type": "linear", "factor": 2.5}}),
    "llama-dynamic": ("llama-mha", {**SMALL, "max_position_embeddings": 24,
                                    "rope_scaling": {"type": "dynamic", "factor": 3.0}}),
    "llama-yarn": ("llama-mha", {**SMALL, "max_position_embeddings": 64, "rope_scaling": YARN}),
    "llama-yarn-beta": ("llama-mha", {**SMALL, "rope_scaling": {
        **YARN, "beta_fast": 8.0, "beta_slow": 2.0, "attention_factor": 0.9}}),
    "llama-yarn-mscale": ("llama-mha", {**SMALL, "rope_scaling": {
        **YARN, "mscale": 0.7, "mscale_all_dim": 1.2}}),
    "llama-llama3": ("llama-mha", {**SMALL, "rope_theta": 500000.0, "rope_scaling": {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32}}),
    "mistral-window": ("mistral", {**SMALL, "sliding_window": 9, "head_dim": 20}),
    "mixtral-5of3": ("mixtral", {**SMALL, "num_local_experts": 5, "num_experts_per_tok": 3,
                                 "sliding_window": 11, "tie_word_embeddings": True}),
    "qwen2-window": ("qwen2-swa", {**SMALL, "num_hidden_layers": 3, "sliding_window": 8,
                                   "max_window_layers": 2, "use_sliding_window": True}),
    "qwen2-mqa": ("qwen2", {**SMALL, "num_attention_heads": 3, "num_key_value_heads": 1,
                            "tie_word_embeddings": True}),
    "qwen2_moe-sparse": ("qwen2_moe", {**SMALL, "num_hidden_layers": 3, "decoder_sparse_step": 2,
                                       "num_experts": 7, "num_experts_per_tok": 3,
                                       "norm_topk_prob": True, "shared_expert_intermediate_size": 40,
                                       "moe_intermediate_size": 24}),
    "qwen2_moe-dense-first": ("qwen2_moe", {**SMALL, "num_hidden_layers": 3, "mlp_only_layers": [0],
                                            "moe_intermediate_size": 24}),
    "qwen3-bias": ("qwen3", {**SMALL, "head_dim": 14, "attention_bias": True}),
    "qwen3-window": ("qwen3", {**SMALL, "head_dim": 12, "num_hidden_layers": 3, "sliding_window": 7,
                               "max_window_layers": 1, "use_sliding_window": True}),
    "qwen3_moe-plain": ("qwen3_moe", {**SMALL, "norm_topk_prob": False, "mlp_only_layers": [1],
                                      "num_hidden_layers": 3, "moe_intermediate_size": 24}),
    "gemma-mha": ("gemma", {**SMALL, "num_attention_heads": 3, "num_key_value_heads": 3,
                            "head_dim": 18, "attention_bias": True}),
    "gemma2-no-caps": ("gemma2", {**SMALL, "head_dim": 12, "attn_logit_softcapping": None,
                                  "final_logit_softcapping": None, "sliding_window": 10,
                                  "query_pre_attn_scalar": 30}),
    "gemma2-untied": ("gemma2", {**SMALL, "num_key_value_heads": 1, "head_dim": 16,
                                 "num_hidden_layers": 4, "sliding_window": 5,
                                 "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}),
    "gemma3-linear": ("gemma3_text", {**SMALL, "num_hidden_layers": 5, "sliding_window": 6,
                                      "sliding_window_pattern": 2, "rope_local_base_freq": 5000.0,
                                      "rope_scaling": {"rope_type": "linear", "factor": 8.0}}),
    "gemma3-caps": ("gemma3_text", {**SMALL, "head_dim": 12, "final_logit_softcapping": 4.0,
                                    "attention_bias": True,
                                    "num_hidden_layers": 3}),
    "phi3-partial": ("phi3", {**SMALL, "hidden_size": 64, "partial_rotary_factor": 0.75,
                              "sliding_window": None, "tie_word_embeddings": True}),
    "phi3-long": ("phi3-longrope", {**SMALL, "hidden_size": 32, "original_max_position_embeddings": 24,
                                    "rope_scaling": LONGROPE}),
    "phi3-short": ("phi3-longrope", {**SMALL, "hidden_size": 32, "original_max_position_embeddings": 64,
                                     "rope_scaling": LONGROPE, "sliding_window": 12}),
    "gpt2-inner": ("gpt2", {"n_embd": 42, "n_head": 7, "n_inner": 50, "activation_function": "relu",
                            "scale_attn_by_inverse_layer_idx": True}),
    "gpt2-unscaled": ("gpt2", {"n_embd": 36, "n_head": 3, "scale_attn_weights": False,
                               "tie_word_embeddings": False, "activation_function": "gelu"}),
    "gpt_neox-serial": ("gpt_neox", {**SMALL, "num_key_value_heads": DROP, "use_parallel_residual": False,
                                     "rotary_pct": 1.0,
                                     "hidden_act": "gelu_new"}),
    "gpt_neox-no-bias": ("gpt_neox", {**SMALL, "num_key_value_heads": DROP, "attention_bias": False, "rotary_pct": 0.5,
                                      "tie_word_embeddings": True}),
    "phi-qk": ("phi", {**SMALL, "qk_layernorm": True, "partial_rotary_factor": 0.5,
                       "hidden_act": "gelu_new"}),
    "bloom-odd": ("bloom", {"hidden_size": 44, "n_head": 11, "n_layer": 3}),
    "bloom-post": ("bloom", {"hidden_size": 48, "n_head": 6,
                             "apply_residual_connection_post_layernorm": True}),
    "falcon-bias": ("falcon-7b", {"hidden_size": 48, "num_attention_heads": 3, "bias": True,
                                  "tie_word_embeddings": False}),
    "falcon-serial": ("falcon-7b", {"hidden_size": 48, "num_attention_heads": 4, "parallel_attn": False,
                                    "multi_query": False, "num_kv_heads": 4}),
    "falcon-11b": ("falcon-40b", {"hidden_size": 48, "num_attention_heads": 6, "num_kv_heads": 3,
                                  "num_ln_in_parallel_attn": 1, "ffn_hidden_size": 52}),
    "falcon-alibi": ("falcon-7b", {"hidden_size": 40, "num_attention_heads": 5, "alibi": True}),
    "falcon-rw-odd": ("falcon-rw", {"hidden_size": 48, "num_attention_heads": 6, "bias": False}),
    "starcoder2-plain": ("starcoder2", {**SMALL, "use_bias": False, "sliding_window": None,
                                        "tie_word_embeddings": False}),
    "stablelm-all": ("stablelm", {**SMALL, "use_qkv_bias": True, "qk_layernorm": True,
                                  "use_parallel_residual": True, "partial_rotary_factor": 0.5}),
    "stablelm-plain": ("stablelm", {**SMALL, "num_key_value_heads": 1, "use_qkv_bias": False,
                                    "tie_word_embeddings": True, "partial_rotary_factor": 1.0}),
    "cohere-bias": ("cohere", {**SMALL, "attention_bias": True, "logit_scale": 0.5}),
    "cohere2-pattern": ("cohere2", {**SMALL, "num_hidden_layers": 5, "sliding_window": 7,
                                    "sliding_window_pattern": 3, "layer_types": DROP}),
    "olmo-bias": ("olmo", {**SMALL, "attention_bias": True, "clip_qkv": None,
                           "tie_word_embeddings": True}),
    "olmo2-mqa": ("olmo2", {**SMALL, "num_key_value_heads": 1, "attention_bias": True}),
    "olmoe-norm": ("olmoe", {**SMALL, "norm_topk_prob": True, "clip_qkv": 0.6, "num_experts": 5,
                             "num_experts_per_tok": 2}),
    "granite-bias": ("granite", {**SMALL, "attention_bias": True, "mlp_bias": True,
                                 "tie_word_embeddings": False, "logits_scaling": 3.0}),
    "granitemoe-5": ("granitemoe", {**SMALL, "num_local_experts": 5, "num_experts_per_tok": 3,
                                    "attention_bias": True}),
    "deepseek_v2-lite": ("deepseek_v2", {"hidden_size": 48, "q_lora_rank": None, "n_group": 1,
                                         "topk_group": 1, "topk_method": "greedy", "rope_scaling": None,
                                         "first_k_dense_replace": 0}),
    "deepseek_v2-bias": ("deepseek_v2", {"hidden_size": 48, "attention_bias": True,
                                         "n_shared_experts": 1, "num_hidden_layers": 3,
                                         "routed_scaling_factor": 2.5}),
    "deepseek_v3-halves": ("deepseek_v3", {"hidden_size": 48, "rope_interleave": False,
                                           "norm_topk_prob": False, "first_k_dense_replace": 0}),
    "deepseek_v3-no-q": ("deepseek_v3", {"hidden_size": 48, "q_lora_rank": None, "n_group": 1,
                                         "topk_group": 1, "rope_scaling": None,
                                         "attention_bias": True}),
    "glm-no-bias": ("glm", {**SMALL, "head_dim": 12, "attention_bias": False,
                            "partial_rotary_factor": 1.0, "tie_word_embeddings": True}),
    "glm4-mqa": ("glm4", {**SMALL, "head_dim": 16, "num_key_value_heads": 1, "attention_bias": False,
                          "partial_rotary_factor": 0.25}),
    "glm4_moe-groups": ("glm4_moe", {**SMALL, "head_dim": 12, "use_qk_norm": False, "n_group": 3,
                                     "topk_group": 2, "n_shared_experts": 2, "norm_topk_prob": False,
                                     "first_k_dense_replace": 2, "num_hidden_layers": 3}),
    "smollm3-nope": ("smollm3", {**SMALL, "num_hidden_layers": 5, "no_rope_layers": DROP,
                                 "no_rope_layer_interval": 2, "attention_bias": True,
                                 "mlp_bias": True, "layer_types": DROP}),
    "smollm3-window": ("smollm3", {**SMALL, "num_hidden_layers": 4, "use_sliding_window": True,
                                   "sliding_window": 6, "no_rope_layers": [1, 1, 0, 1],
                                   "layer_types": DROP}),
    "gpt_oss-plain": ("gpt_oss", {**SMALL, "head_dim": 12, "attention_bias": False,
                                  "rope_scaling": None, "num_local_experts": 5,
                                  "num_experts_per_tok": 3, "experts_per_token": 3,
                                  "swiglu_limit": 1.5}),
    "exaone4-full": ("exaone4", {**SMALL, "head_dim": 12, "sliding_window": None,
                                 "sliding_window_pattern": DROP,
                                 "layer_types": ["full_attention"] * 4,
                                 "tie_word_embeddings": True, "rope_scaling": None}),
    "exaone4-pattern": ("exaone4", {**SMALL, "head_dim": 12, "sliding_window": 6,
                                    "sliding_window_pattern": 3, "layer_types": DROP}),
    "ernie4_5-bias": ("ernie4_5", {**SMALL, "use_bias": True, "tie_word_embeddings": True}),
    "seed_oss-out": ("seed_oss", {**SMALL, "attention_bias": False, "attention_out_bias": True,
                                  "mlp_bias": True}),
    "hunyuan-plain": ("hunyuan_v1_dense", {**SMALL, "num_key_value_heads": 1,
                                           "tie_word_embeddings": False, "attention_bias": True,
                                           "rope_scaling": None}),
    "nemotron-bias": ("nemotron", {**SMALL, "attention_bias": True, "mlp_bias": True,
                                   "partial_rotary_factor": 1.0}),
    "opt-gelu": ("opt-125m", {"hidden_size": 42, "num_attention_heads": 7, "ffn_dim": 40,
                              "word_embed_proj_dim": 42, "activation_function": "gelu"}),
    "opt-no-bias": ("opt-125m", {"hidden_size": 48, "num_attention_heads": 3, "ffn_dim": 40,
                                 "word_embed_proj_dim": 20, "enable_bias": False,
                                 "layer_norm_elementwise_affine": False}),
}
# Golden folders of which there is a case with the config.json that transformers writes.
SAVED = ("bloom", "deepseek_v2", "deepseek_v3", "falcon-rw", "gemma3_text", "gpt_oss",
         "phi3-longrope", "qwen3_moe")

# --- Families of custom_code_families.py ---
QWEN = {"hidden_size": 48, "num_attention_heads": 4, "kv_channels": 12, "intermediate_size": 88,
        "seq_length": 16}
GLM1 = {"hidden_size": 48, "num_attention_heads": 4, "inner_hidden_size": 56, "bos_token_id": 60,
        "gmask_token_id": 59, "mask_token_id": 58}
GLM2 = {"hidden_size": 48, "num_attention_heads": 4, "kv_channels": 12, "ffn_hidden_size": 40,
        "multi_query_group_num": 2, "num_layers": 2}
BAICHUAN = {"hidden_size": 48, "num_attention_heads": 4, "intermediate_size": 40}
INTERNLM = {"hidden_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 40,
            "max_position_embeddings": 128}
CUSTOM = {
    "qwen-heads3": ("qwen", {**QWEN, "num_attention_heads": 3, "kv_channels": 16, "seq_length": 64}),
    "qwen-ntk-logn": ("qwen", {**QWEN, "num_hidden_layers": 3}),
    "qwen-ntk-only": ("qwen", {**QWEN, "seq_length": 20, "use_logn_attn": False}),
    "qwen-logn-only": ("qwen", {**QWEN, "seq_length": 20, "use_dynamic_ntk": False}),
    "qwen-neither": ("qwen", {**QWEN, "use_dynamic_ntk": False, "use_logn_attn": False}),
    "qwen-bias": ("qwen", {**QWEN, "no_bias": False, "rotary_emb_base": 500000.0}),
    "qwen-wide": ("qwen", {**QWEN, "num_attention_heads": 5, "kv_channels": 14, "intermediate_size": 102}),
    "qwen-partial": ("qwen", {**QWEN, "rotary_pct": 0.5}),
    "qwen-unscaled": ("qwen", {**QWEN, "scale_attn_weights": False}),
    "qwen-tied": ("qwen", {**QWEN, "tie_word_embeddings": True, "layer_norm_epsilon": 1e-2}),
    "chatglm-heads3": ("chatglm", {**GLM1, "hidden_size": 36, "num_attention_heads": 3, "num_layers": 3}),
    "chatglm-inner": ("chatglm", {**GLM1, "inner_hidden_size": DROP, "layernorm_epsilon": 1e-2}),
    "chatglm-mask": ("chatglm", {**GLM1, "hidden_size": 40, "num_attention_heads": 5}),
    "chatglm-several": ("chatglm", {**GLM1, "num_layers": 3}),
    "chatglm-late-gmask": ("chatglm", GLM1),
    "chatglm-short-context": ("chatglm", GLM1),
    "chatglm2-mqa": ("chatglm2", {**GLM2, "num_attention_heads": 5, "multi_query_group_num": 1}),
    "chatglm2-groups3": ("chatglm2", {**GLM2, "num_attention_heads": 6, "multi_query_group_num": 3,
                                      "kv_channels": 16, "num_layers": 4}),
    "chatglm2-mha": ("chatglm2", {**GLM2, "num_attention_heads": 3, "multi_query_attention": False}),
    "chatglm2-bias": ("chatglm2", {**GLM2, "add_bias_linear": True, "add_qkv_bias": False}),
    "chatglm2-no-bias": ("chatglm2", {**GLM2, "add_qkv_bias": False}),
    "chatglm2-layer-norm": ("chatglm2", {**GLM2, "rmsnorm": False, "layernorm_epsilon": 1e-2}),
    "chatglm2-no-last-norm": ("chatglm2", {**GLM2, "post_layer_norm": False}),
    "chatglm2-normed-residual": ("chatglm2", {**GLM2, "apply_residual_connection_post_layernorm": True}),
    "chatglm3-all": ("chatglm3-32k", {
        **GLM2, "rope_ratio": 2.5, "rmsnorm": False, "post_layer_norm": False, "add_bias_linear": True,
        "apply_residual_connection_post_layernorm": True, "multi_query_group_num": 1}),
    "chatglm3-32k": ("chatglm3-32k", {**GLM2, "num_attention_heads": 2, "kv_channels": 20, "num_layers": 5}),
    "chatglm-glm4-groups4": ("chatglm-glm4", {**GLM2, "num_attention_heads": 8, "multi_query_group_num": 4,
                                              "kv_channels": 8, "num_hidden_layers": 2, "rope_ratio": 10000,
                                              "original_rope": False}),
    "baichuan-7b-heads5": ("baichuan-7b", {**BAICHUAN, "hidden_size": 60, "num_attention_heads": 5,
                                           "num_hidden_layers": 3}),
    "baichuan-7b-tied": ("baichuan-7b", {**BAICHUAN, "num_attention_heads": 3, "hidden_act": "gelu",
                                         "tie_word_embeddings": True}),
    "baichuan-13b-heads7": ("baichuan-13b", {**BAICHUAN, "hidden_size": 42, "num_attention_heads": 7}),
    "baichuan-13b-heads12": ("baichuan-13b", {**BAICHUAN, "num_attention_heads": 12, "num_hidden_layers": 3}),
    "baichuan-13b-heads1": ("baichuan-13b", {**BAICHUAN, "num_attention_heads": 1, "hidden_act": "relu"}),
    "baichuan2-7b-tied": ("baichuan2-7b", {**BAICHUAN, "tie_word_embeddings": True}),
    "baichuan2-7b-plain-head": ("baichuan2-7b", {**BAICHUAN, "norm_head": False, "rms_norm_eps": 1e-2}),
    "baichuan2-13b-z-loss": ("baichuan2-13b", {**BAICHUAN, "hidden_size": 44, "num_attention_heads": 11,
                                               "z_loss_weight": 0.002}),
    "internlm2-mqa": ("internlm2", {**INTERNLM, "num_attention_heads": 3, "num_key_value_heads": 1}),
    "internlm2-mha": ("internlm2", {**INTERNLM, "num_key_value_heads": DROP, "num_hidden_layers": 3}),
    "internlm2-bias": ("internlm2", {**INTERNLM, "hidden_size": 60, "num_attention_heads": 6, "bias": True}),
    "internlm2-tied": ("internlm2", {**INTERNLM, "tie_word_embeddings": True, "hidden_act": "gelu",
                                     "rope_theta": 500.0}),
    "internlm2-linear": ("internlm2", {**INTERNLM, "rope_scaling": {"type": "linear", "factor": 2.5}}),
    "internlm2-dynamic": ("internlm2", {**INTERNLM, "max_position_embeddings": 24,
                                        "rope_scaling": {"type": "dynamic", "factor": 3.0}}),
}
# Prompts of ChatGLM-6B mark where the answer goes and where it begins: {index: token}.
MARKS = {
    "chatglm-heads3": {6: 59, 7: 60},
    "chatglm-inner": {38: 59, 39: 60},
    "chatglm-mask": {3: 58, 9: 60},
    "chatglm-several": {4: 58, 8: 59, 11: 60, 20: 59, 21: 60, 30: 58},
    "chatglm-late-gmask": {5: 58, 10: 60, 19: 59},
    "chatglm-short-context": {0: 59, 1: 60},
}
# The longest prompt, and those of its beginnings that are decoded from.
CUSTOM_LENGTH = 45
CUSTOM_PROMPTS = (10, 16, 20, 24, 32, 33, 40, CUSTOM_LENGTH)
CUSTOM_ROWS = (0, 15, 19, 32, CUSTOM_LENGTH - 1)
GREEDY_STEPS = 12


def uniform(name, count):
    """Numbers in [-1, 1): splitmix64 of the name's FNV-1a hash and the element's number."""
    seed = 0xcbf29ce484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001b3 % 2**64
    with np.errstate(over="ignore"):
        x = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9e3779b97f4a7c15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xbf58476d1ce4e5b9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94d049bb133111eb)
        x ^= x >> np.uint64(31)
    return (x >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0


def value(name, shape, centre):
    """Vectors (and norms of single heads) are around `centre`, biases around 0, matrices keep the
    size of what they are multiplied with."""
    x = uniform(name, int(np.prod(shape)))
    if name.endswith("bias") or name.endswith("sinks"):
        x = 0.2 * x
    elif len(shape) == 1 or "norm" in name:
        x = centre + 0.2 * x
    else:
        x = x * np.sqrt(6.0 / shape[-1])
    return x.reshape(shape).astype(np.float32)


def config_of(base, changes):
    config = json.loads((GOLDEN / base / "config.json").read_text())
    config["padded_vocab_size" if "padded_vocab_size" in config else "vocab_size"] = VOCAB
    for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
        if config.get(key) is not None:
            config[key] = 2
    for key, new in changes.items():
        config[key] = new
        if new is DROP:
            del config[key]
    if "n_inner" not in changes and "n_inner" in config:
        config["n_inner"] = None
    return config


def has_no_effect(name):
    return name.endswith(("inv_freq", ".attn.bias", "masked_bias"))


def prompt_of(name, length):
    return [int(i) for i in np.floor((uniform("prompt " + name, length) + 1) / 2 * (VOCAB - 3) + 3)]


def write_case(target, name, case):
    lines = ",\n".join(f'"{key}": {json.dumps(part, separators=(",", ":"))}' for key, part in case.items())
    (target / f"{name}.json").write_text("{\n" + lines + "\n}\n")


def rounded(logits, rows):
    return [[float(f"{x:.6g}") for x in logits[row]] for row in rows]


def make_custom(target, name, base, changes):
    config = config_of(base, changes)
    shapes = custom.tensors(config)
    weights = {n: value(n, s, 1.0).astype(np.float64) for n, s in shapes.items()}
    ids = prompt_of(name, CUSTOM_LENGTH)
    if name in MARKS:
        ids = [MARKS[name].get(i, min(token, 57)) for i, token in enumerate(ids)]
    logits = custom.logits(config, weights, ids)
    lengths = [n for n in CUSTOM_PROMPTS if name not in MARKS or 60 in ids[:n]]
    greedy = []
    for length in lengths:
        tokens, margins = custom.greedy(config, weights, ids[:length], GREEDY_STEPS)
        doubtful = [i for i, margin in enumerate(margins) if margin < custom.CLEAR_MARGIN]
        clear = tokens[:doubtful[0]] if doubtful else tokens
        if clear:
            greedy.append({"prompt": length, "tokens": clear})
    case = {"reference": "tools/custom_code_families.py", "config": config, "norm_centre": 1.0, "ids": ids,
            "rows": list(CUSTOM_ROWS), "tensors": shapes, "logits": rounded(logits, CUSTOM_ROWS),
            "greedy": greedy}
    write_case(target, name, case)
    print(name, f"largest logit {np.abs(logits).max():.3g}, greedy tokens", *(len(g["tokens"]) for g in greedy),
          flush=True)


def make(target, name, base, changes):
    import torch  # here, because make_custom needs neither
    import transformers
    from safetensors.numpy import load_file, save_file

    transformers.logging.set_verbosity_error()
    config = config_of(base, changes)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as temp:
        folder = pathlib.Path(temp)
        (folder / "config.json").write_text(json.dumps(config))
        parsed = transformers.AutoConfig.from_pretrained(folder)
        transformers.AutoModelForCausalLM.from_config(parsed).save_pretrained(folder)
        if name.endswith("-saved"):
            config = json.loads((folder / "config.json").read_text())
        shapes = {n: list(t.shape) for n, t in load_file(folder / "model.safetensors").items()
                  if not has_no_effect(n)}
        centre = 0.0 if config["model_type"] in ("gemma", "gemma2", "gemma3_text", "nemotron") else 1.0
        save_file({n: value(n, s, centre) for n, s in shapes.items()}, folder / "model.safetensors",
                  metadata={"format": "pt"})
        (folder / "config.json").write_text(json.dumps(config))
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, attn_implementation="eager", dtype=torch.float32).eval()
    ids = prompt_of(name, LENGTH)
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].double().numpy()
    case = {"reference": f"transformers {transformers.__version__}", "config": config,
            "norm_centre": centre, "ids": ids, "rows": list(ROWS), "tensors": shapes, "logits": rounded(logits, ROWS)}
    write_case(target, name, case)
    print(name, f"largest logit {np.abs(logits).max():.3g}", flush=True)


def main():
    target = pathlib.Path(sys.argv[1])
    target.mkdir(exist_ok=True)
    for name in sys.argv[2:] or [*CUSTOM, *SETTINGS, *(f"{name}-saved" for name in SAVED)]:
        try:
            if name in CUSTOM:
                make_custom(target, name, *CUSTOM[name])
                continue
            base = name.removesuffix("-saved")  # also of a golden folder as it is
            make(target, name, *SETTINGS.get(name, SETTINGS.get(base, (base, {}))))
        except Exception as error:  # the others first
            print(f"{name}: {type(error).__name__}: {str(error)[:300]}", flush=True)


if __name__ == "__main__":
    main()
