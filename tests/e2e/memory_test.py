#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Loading takes little more memory than what is kept: the file is not held beside the packed weights.

Usage: memory_test.py PROGRAM
"""
import json
import math
import os
import pathlib
import struct
import tempfile

import lanner
from lanner import GGUF, TestCase

LAYERS, HIDDEN, FFN, VOCAB = 4, 1024, 4096, 1024
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "hidden_size": HIDDEN,
    "intermediate_size": FFN, "num_hidden_layers": LAYERS, "num_attention_heads": 16, "num_key_value_heads": 4,
    "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "vocab_size": VOCAB, "max_position_embeddings": 512,
    "tie_word_embeddings": True, "torch_dtype": "bfloat16",
}


def shapes():
    yield "model.embed_tokens.weight", [VOCAB, HIDDEN]
    yield "model.norm.weight", [HIDDEN]
    for i in range(LAYERS):
        layer = f"model.layers.{i}."
        for name, shape in (
            ("input_layernorm", [HIDDEN]), ("post_attention_layernorm", [HIDDEN]),
            ("self_attn.q_proj", [HIDDEN, HIDDEN]), ("self_attn.k_proj", [HIDDEN // 4, HIDDEN]),
            ("self_attn.v_proj", [HIDDEN // 4, HIDDEN]), ("self_attn.o_proj", [HIDDEN, HIDDEN]),
            ("mlp.gate_proj", [FFN, HIDDEN]), ("mlp.up_proj", [FFN, HIDDEN]), ("mlp.down_proj", [HIDDEN, FFN])):
            yield f"{layer}{name}.weight", shape


def write_model(folder):
    """bf16 weights of size 0.0078 to 0.031, as one file written piece by piece."""
    (folder / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    header, end = {}, 0
    for name, shape in shapes():
        begin, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
    piece = b"".join(struct.pack("<H", 0x3C00 + i % 256 + 0x8000 * (i * 7 % 13 % 2)) for i in range(1021)) * 512
    with open(folder / "model.safetensors", "wb") as file:
        file.write(lanner.join_safetensors(header, b""))
        while end > 0:
            file.write(piece[:end])
            end -= len(piece)


class MemoryTest(TestCase):
    def bench(self, model, *options):
        result = self.assert_runs("bench", "model", model, "--json", "--prompt", "16", "--generate", "2", "--repeat",
                                  "1", *options)
        return json.loads(result.out)

    def test_peak_of_a_model_quantised_while_loading(self):
        program = self.bench(GGUF)["peak_rss_bytes"]  # of a model of a few hundred kilobytes
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            write_model(folder)
            file_bytes = os.path.getsize(folder / "model.safetensors")
            for dtype in ("auto", "int8"):
                report = self.bench(folder, "--dtype", dtype)
                packed = report["model"]["weight_bytes"]
                kept = packed + report["model"]["kv_cache_bytes"]
                taken = report["peak_rss_bytes"] - program
                message = f"{dtype}: {taken} bytes for {packed} of weights out of a file of {file_bytes}"
                print(message)
                self.assertGreater(taken, kept // 2, message)
                self.assertLessEqual(taken, packed * 11 // 10 + report["model"]["kv_cache_bytes"], message)


if __name__ == "__main__":
    lanner.main()
