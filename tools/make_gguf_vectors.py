#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the data that convert_test holds the GGUF dequantisers against.

For every block type: <type>.blocks, random blocks, and <type>.fp32, what the PyPI package gguf makes
of them (little-endian float32). Half of the blocks have scales as trained models have them, the others
extreme ones: both zeros, subnormals, the largest fp16, all quantised bits clear or set.

    pip install gguf==0.19.0 && tools/make_gguf_vectors.py tests/gguf
"""
import pathlib
import sys

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize

# Byte offsets of the fp16 scales in a block.
SCALES = {
    Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q8_0: [0],
    Type.Q2_K: [80, 82], Type.Q3_K: [108], Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208],
}
EXTREME = [0.0, -0.0, 6e-8, -6e-8, 3.1e-5, -6.1e-5, 65504.0, -65504.0, 1.0, -1.0, 0.333, -2.5]


def make_blocks(kind, rng):
    elements, size = GGML_QUANT_SIZES[kind]
    count = 72 if elements == 32 else 14
    blocks = rng.integers(0, 256, size=(count, size), dtype=np.uint8)
    blocks[1], blocks[2] = 0, 255
    for index in range(count):
        for offset in SCALES[kind]:
            if index % 2 == 0:
                scale = rng.normal() * 0.02
            else:
                scale = EXTREME[rng.integers(len(EXTREME))]
            blocks[index, offset:offset + 2] = np.array([scale], "<f2").view(np.uint8)
    return blocks


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(20240607)
    for kind in SCALES:
        blocks = make_blocks(kind, rng)
        values = dequantize(blocks, kind).astype("<f4")
        assert np.isfinite(values).all()
        name = kind.name.lower()
        (folder / f"{name}.blocks").write_bytes(blocks.tobytes())
        (folder / f"{name}.fp32").write_bytes(values.tobytes())


if __name__ == "__main__":
    main()
