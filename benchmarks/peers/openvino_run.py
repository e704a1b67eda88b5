#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One measurement of OpenVINO GenAI for compare.py: prints its rate as {"tokens_per_s": …}.

Usage: openvino_run.py MODEL.gguf THREADS PROMPT GENERATE BATCH REPEAT

PROMPT random tokens, then GENERATE more; GENERATE 0 measures the prompt. Runs in the environment that install.sh makes.
"""
import json
import random
import statistics
import sys

import numpy
import openvino
import openvino_genai


def main():
    model, threads, prompt, generate, batch, repeat = sys.argv[1], *map(int, sys.argv[2:7])
    prompt = max(prompt, 1)
    pipeline = openvino_genai.LLMPipeline(model, "CPU", INFERENCE_NUM_THREADS=threads)
    config = openvino_genai.GenerationConfig()
    config.max_new_tokens = generate + 1
    config.min_new_tokens = generate + 1
    config.ignore_eos = True
    config.do_sample = False
    draw = random.Random(1)
    rates = []
    for _ in range(repeat + 1):
        ids = numpy.array([[draw.randrange(300, 30000) for _ in range(prompt)] for _ in range(batch)], dtype=numpy.int64)
        inputs = openvino_genai.TokenizedInputs(openvino.Tensor(ids), openvino.Tensor(numpy.ones_like(ids)))
        metrics = pipeline.generate(inputs, config).perf_metrics
        if generate == 0:
            rates.append(batch * prompt / metrics.get_ttft().mean * 1e3)
        else:
            # Not of get_tpot(), which counts the tokens of all sequences as one.
            seconds = (metrics.get_generate_duration().mean - metrics.get_ttft().mean) / 1e3
            rates.append(batch * generate / seconds)
    print(json.dumps({"tokens_per_s": statistics.median(rates[1:])}))  # the first one compiles


if __name__ == "__main__":
    main()
