# SPDX-License-Identifier: Apache-2.0
"""Models that the tests use."""

import json
import pathlib
import struct
import unittest

import numpy as np

import lanner
from lanner.default_model import default_model

SOURCE = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = SOURCE / "tests" / "golden"
# Two layers, 320 tokens, no tokenizer: for everything that token ids suffice for.
TINY = GOLDEN / "llama-tied"
TINY_CONFIG = {"dtype": "fp32", "kv_dtype": "fp32", "max_context": 512, "max_sequences": 16, "threads": 1}


def tiny(**config):
    """A tiny model with random weights."""
    return lanner.LLM(TINY, **{**TINY_CONFIG, **config})


def write_adapter(folder, seed=1, rank=4):
    """A LoRA adapter for TINY in PEFT's format, of random numbers: of its first layer's V and of both up projections."""
    width = json.loads((TINY / "config.json").read_text())["hidden_size"]
    data = (TINY / "model.safetensors").read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    shapes = json.loads(data[8 : 8 + length])
    numbers = np.random.default_rng(seed)
    header, body = {}, b""
    for layer, name in ((0, "self_attn.v_proj"), (0, "mlp.up_proj"), (1, "mlp.up_proj")):
        module = f"model.layers.{layer}.{name}"
        outputs = shapes[module + ".weight"]["shape"][0]
        for part, shape in (("lora_A", (rank, width)), ("lora_B", (outputs, rank))):
            values = numbers.normal(0, 0.3, shape).astype("<f4")
            header[f"base_model.model.{module}.{part}.weight"] = {
                "dtype": "F32", "shape": list(shape), "data_offsets": [len(body), len(body) + values.nbytes]}
            body += values.tobytes()
    text = json.dumps(header).encode()
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + body)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank}))
    return folder


def has_default_model():
    """Whether scripts/get_default_model.sh has been run."""
    try:
        default_model()
    except lanner.NotFoundError:
        return False
    return True


needs_default_model = unittest.skipUnless(
    has_default_model(), "the default model is not there (scripts/get_default_model.sh fetches it)")
