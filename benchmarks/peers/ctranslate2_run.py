#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measurements of CTranslate2 for compare.py: prints its rates in tokens per second as a JSON array.

Usage: ctranslate2_run.py MODEL.gguf THREADS REPEAT PROMPT,BATCH,GENERATE...

PROMPT random tokens, then GENERATE more; GENERATE 0 measures the prompt. CTranslate2 reads no GGUF: the shape of MODEL is
written once as a model of its own format beside it, in the type of CTranslate2 with as many bits. Runs in the environment
that install.sh makes.
"""
import json
import pathlib
import random
import statistics
import sys
import time

import ctranslate2
import numpy

import make_models

TYPES = {"q8_0": "int8"}  # bfloat16 it has for GPUs only


def write(folder, type_name):
    specs = ctranslate2.specs
    spec = specs.TransformerDecoderModelSpec.from_config(
        num_layers=make_models.LAYERS, num_heads=make_models.HEADS, activation=specs.Activation.SWISH, pre_norm=True,
        ffn_glu=True, rms_norm=True, rotary_dim=0, rotary_interleave=False, rotary_base=10000,
        num_heads_kv=make_models.KV_HEADS)
    draw = numpy.random.default_rng(1)

    def matrix(rows, columns):
        return draw.standard_normal((rows, columns), dtype=numpy.float32) * numpy.float32(0.02)

    hidden, ffn = make_models.HIDDEN, make_models.FFN
    ones = numpy.ones(hidden, dtype=numpy.float32)
    decoder = spec.decoder
    decoder.scale_embeddings = False
    decoder.start_from_zero_embedding = False
    decoder.embeddings.weight = matrix(make_models.VOCAB, hidden)
    decoder.projection.weight = decoder.embeddings.weight
    decoder.layer_norm.gamma = ones
    for layer in decoder.layer:
        attention = layer.self_attention
        attention.layer_norm.gamma = ones
        attention.linear[0].weight = matrix(hidden + 2 * hidden // make_models.HEADS * make_models.KV_HEADS, hidden)
        attention.linear[1].weight = matrix(hidden, hidden)
        layer.ffn.layer_norm.gamma = ones
        layer.ffn.linear_0.weight = matrix(ffn, hidden)
        layer.ffn.linear_0_noact.weight = matrix(ffn, hidden)
        layer.ffn.linear_1.weight = matrix(hidden, ffn)
    spec.config.layer_norm_epsilon = 1e-5
    spec.config.bos_token, spec.config.eos_token, spec.config.unk_token = "<|begin|>", "<|end|>", "<|end|>"
    spec.register_vocabulary(make_models.vocabulary()[0])
    spec.validate()
    spec.optimize(quantization=type_name)
    partial = folder.with_name(folder.name + ".partial")
    partial.mkdir(exist_ok=True)
    spec.save(str(partial))
    partial.rename(folder)


def measure(generator, draw, tokens, prompt, batch, generate):
    prompts = [[tokens[draw.randrange(300, 30000)] for _ in range(max(prompt, 1))] for _ in range(batch)]

    def seconds(count):
        start = time.perf_counter()
        generator.generate_batch(prompts, max_length=count, min_length=count, sampling_topk=1, end_token=[],
                                 include_prompt_in_result=False)
        return time.perf_counter() - start

    first = seconds(1)
    if generate == 0:
        return batch * prompt / first
    return batch * generate / (seconds(generate + 1) - first)


def main():
    model, threads, repeat = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    type_name = TYPES.get(model.stem.rsplit("-", 1)[-1])
    if type_name is None:
        sys.exit(f"{model.name}: CTranslate2 has no such type on CPUs")
    folder = model.with_suffix(".ct2")
    if not folder.exists():
        write(folder, type_name)
    generator = ctranslate2.Generator(str(folder), device="cpu", compute_type=type_name, intra_threads=threads)
    tokens = make_models.vocabulary()[0]
    draw = random.Random(1)
    results = []
    for point in sys.argv[4:]:
        rates = [measure(generator, draw, tokens, *map(int, point.split(","))) for _ in range(repeat + 1)]
        results.append(statistics.median(rates[1:]))
    print(json.dumps(results))


if __name__ == "__main__":
    main()
