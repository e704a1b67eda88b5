#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the llama-1b shape (1.04 billion random parameters) as GGUF files that Lanner and its peers read alike.

Usage: make_models.py FOLDER [TYPE...]       TYPE: bf16, q8_0, q4_0 (none: all of them)

The values are those of a normal distribution of deviation 0.02; the vocabulary is made up. Needs the PyPI packages gguf and
numpy, which install.sh puts into its virtual environment.
"""
import pathlib
import sys

import gguf
import numpy

HIDDEN, LAYERS, HEADS, KV_HEADS, FFN, VOCAB = 2048, 16, 32, 8, 8192, 32000
TYPES = {
    "bf16": (gguf.GGMLQuantizationType.BF16, gguf.LlamaFileType.MOSTLY_BF16),
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
    "q4_0": (gguf.GGMLQuantizationType.Q4_0, gguf.LlamaFileType.MOSTLY_Q4_0),
}


def shapes():
    kv_width = HIDDEN // HEADS * KV_HEADS
    yield "token_embd.weight", (VOCAB, HIDDEN)
    for i in range(LAYERS):
        for name, shape in (
            ("attn_norm", (HIDDEN,)), ("attn_q", (HIDDEN, HIDDEN)), ("attn_k", (kv_width, HIDDEN)),
            ("attn_v", (kv_width, HIDDEN)), ("attn_output", (HIDDEN, HIDDEN)), ("ffn_norm", (HIDDEN,)),
            ("ffn_gate", (FFN, HIDDEN)), ("ffn_up", (FFN, HIDDEN)), ("ffn_down", (HIDDEN, FFN))):
            yield f"blk.{i}.{name}.weight", shape
    yield "output_norm.weight", (HIDDEN,)


def vocabulary():
    """Tokens, types and merges of a byte pair vocabulary: a letter for each byte, words that nobody writes, special tokens."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]
    tokens = letters + [a + b for a in letters for b in letters][: VOCAB - len(letters) - 2]
    merges = [f"{token[0]} {token[1]}" for token in tokens[len(letters):]]
    types = [gguf.TokenType.NORMAL] * len(tokens) + [gguf.TokenType.CONTROL] * 2
    return tokens + ["<|begin|>", "<|end|>"], types, merges


def write(path, type_name):
    tensor_type, file_type = TYPES[type_name]
    writer = gguf.GGUFWriter(str(path) + ".partial", "llama", use_temp_file=False)
    writer.add_name("llama-1b")
    writer.add_file_type(file_type)
    writer.add_context_length(131072)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(VOCAB)
    tokens, types, merges = vocabulary()
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_bos_token_id(VOCAB - 2)
    writer.add_eos_token_id(VOCAB - 1)
    writer.add_unk_token_id(VOCAB - 1)
    writer.add_add_bos_token(False)

    random = numpy.random.default_rng(1)
    for name, shape in shapes():
        values = random.standard_normal(shape, dtype=numpy.float32) * numpy.float32(0.02)
        if len(shape) == 1:
            writer.add_tensor(name, values + numpy.float32(1))
            continue
        packed = gguf.quants.quantize(values, tensor_type)
        writer.add_tensor(name, packed, raw_dtype=tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file(progress=sys.stderr.isatty())
    writer.close()
    pathlib.Path(str(path) + ".partial").rename(path)


def main():
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help") or not set(sys.argv[2:]) <= set(TYPES):
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for type_name in sys.argv[2:] or TYPES:
        path = folder / f"llama-1b-{type_name}.gguf"
        if not path.exists():
            write(path, type_name)
        print(path)


if __name__ == "__main__":
    main()
