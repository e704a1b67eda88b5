#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a tiny Llama checkpoint as a GGUF file, the way llama.cpp's converter does.

The reading of GGUF files is tested on a file that other code wrote: the PyPI package gguf. Rows of Q
and K are permuted, the llama3 rope scaling becomes rope_freqs.weight, matrices are Q8_0, norms F32.

    pip install gguf==0.19.0 safetensors && \\
        tools/make_gguf_model.py tests/golden/llama-tied tests/gguf/llama-tied-q8_0.gguf
"""
import itertools
import json
import math
import pathlib
import sys

import gguf
import numpy as np
from gguf.quants import quantize
from safetensors.numpy import load_file

NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_name(name):
    whole = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
             "lm_head.weight": "output.weight"}
    if name in whole:
        return whole[name]
    _, _, layer, rest = name.split(".", 3)
    part, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{NAMES[part]}.{kind}"


def permute(weights, heads):
    """As in llama.cpp's convert_hf_to_gguf.py."""
    return (weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:])
            .swapaxes(1, 2).reshape(weights.shape))


def rope_freqs(config):
    """As in llama.cpp's convert_hf_to_gguf.py."""
    scaling = config["rope_scaling"]
    dim = config["head_dim"]
    freqs = 1.0 / config["rope_theta"] ** (np.arange(0, dim, 2, dtype=np.float32) / dim)
    factor, low, high = (scaling[k] for k in ("factor", "low_freq_factor", "high_freq_factor"))
    original = scaling["original_max_position_embeddings"]
    factors = []
    for freq in freqs:
        wavelength = 2 * math.pi / freq
        if wavelength < original / high:
            factors.append(1)
        elif wavelength > original / low:
            factors.append(factor)
        else:
            smooth = (original / wavelength - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(factors, dtype=np.float32)


def vocabulary(size):
    """Three special tokens, GPT-2's characters for the 256 bytes, and merges up to the size."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    other = [byte for byte in range(256) if byte not in plain]
    tokens = ["<unk>", "<s>", "</s>"]
    tokens += [chr(byte) for byte in plain] + [chr(256 + i) for i in range(len(other))]
    merges = []
    for pair in itertools.product("Ġetaoinsh", "etaoinsh"):
        if len(tokens) == size:
            break
        merges.append(" ".join(pair))
        tokens.append("".join(pair))
    return tokens, merges


CHAT_TEMPLATE = ("{{ bos_token }}{% for message in messages %}[{{ message.role }}] {{ message.content }}\n"
                 "{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}")


def main():
    folder, target = pathlib.Path(sys.argv[1]), sys.argv[2]
    config = json.loads((folder / "config.json").read_text())
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    vocab = config["vocab_size"]

    writer = gguf.GGUFWriter(target, "llama")
    writer.add_name("tiny llama")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(vocab)
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    tokens, merges = vocabulary(vocab)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if i < 3 else 1 for i in range(vocab)])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_add_bos_token(True)
    writer.add_chat_template(CHAT_TEMPLATE)

    writer.add_tensor("rope_freqs.weight", rope_freqs(config))
    for name, weights in sorted(load_file(folder / "model.safetensors").items()):
        weights = weights.astype(np.float32)
        if "q_proj" in name:
            weights = permute(weights, heads)
        if "k_proj" in name:
            weights = permute(weights, kv_heads)
        if weights.ndim == 2:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(gguf_name(name), quantize(weights, kind), raw_dtype=kind)
        else:
            writer.add_tensor(gguf_name(name), weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
