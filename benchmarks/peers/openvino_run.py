#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measurements of OpenVINO GenAI for compare.py: prints its rates in tokens per second as a JSON array.

Usage: openvino_run.py MODEL.gguf THREADS REPEAT PROMPT,BATCH,GENERATE...

PROMPT random tokens, then GENERATE more; GENERATE 0 measures the prompt. Runs in the environment that install.sh makes.
"""
import json
import random
import statistics
import sys

import numpy
import openvino
import openvino_genai


def measure(pipeline, draw, prompt, batch, generate):
    config = openvino_genai.GenerationConfig()
    config.max_new_tokens = generate + 1
    config.min_new_tokens = generate + 1
    config.ignore_eos = True
    config.do_sample = False
    ids = numpy.array([[draw.randrange(300, 30000) for _ in range(max(prompt, 1))] for _ in range(batch)], dtype=numpy.int64)
    inputs = openvino_genai.TokenizedInputs(openvino.Tensor(ids), openvino.Tensor(numpy.ones_like(ids)))
    metrics = pipeline.generate(inputs, config).perf_metrics
    if generate == 0:
        return batch * prompt / metrics.get_ttft().mean * 1e3
    # Not of get_tpot(), which counts the tokens of all sequences as one.
    return batch * generate / (metrics.get_generate_duration().mean - metrics.get_ttft().mean) * 1e3


def main():
    model, threads, repeat = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    pipeline = openvino_genai.LLMPipeline(model, "CPU", INFERENCE_NUM_THREADS=threads)
    draw = random.Random(1)
    results = []
    for point in sys.argv[4:]:
        rates = [measure(pipeline, draw, *map(int, point.split(","))) for _ in range(repeat + 1)]
        results.append(statistics.median(rates[1:]))  # the first one compiles
    print(json.dumps(results))


if __name__ == "__main__":
    main()
