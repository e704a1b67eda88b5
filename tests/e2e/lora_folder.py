# SPDX-License-Identifier: Apache-2.0
"""LoRA adapters in PEFT's format, of random numbers. Python's standard library only."""
import array
import json
import random

from lanner import join_safetensors


def write_adapter(folder, shapes, rank=4, alpha=8, seed=1, size=0.1, prefix="base_model.model.", **config):
    """An adapter for the matrices `shapes`: name without ".weight" -> (outputs, inputs)."""
    folder.mkdir()
    numbers = random.Random(seed)
    header, body = {}, bytearray()
    for name, (outputs, inputs) in shapes.items():
        for part, shape in (("lora_A", (rank, inputs)), ("lora_B", (outputs, rank))):
            values = array.array("f", (numbers.gauss(0, size) for _ in range(shape[0] * shape[1])))
            data = values.tobytes()
            header[f"{prefix}{name}.{part}.weight"] = {
                "dtype": "F32", "shape": list(shape), "data_offsets": [len(body), len(body) + len(data)]}
            body += data
    (folder / "adapter_model.safetensors").write_bytes(join_safetensors(header, bytes(body)))
    (folder / "adapter_config.json").write_text(json.dumps(
        {"peft_type": "LORA", "r": rank, "lora_alpha": alpha, "bias": "none", "task_type": "CAUSAL_LM",
         "target_modules": sorted({name.rsplit(".", 1)[-1] for name in shapes}), **config}))
    return folder
