#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measurements of llama.cpp for compare.py, as llama-bench and llama-batched-bench take them: prints the rates in tokens
per second as a JSON array.

Usage: llama_cpp_run.py MODEL.gguf THREADS REPEAT PROMPT,BATCH,GENERATE...
       llama_cpp_run.py --quantize FROM.gguf TO.gguf THREADS         (to Q4_K_M)

PROMPT random tokens, then GENERATE more; GENERATE 0 measures the prompt. The cache of a prompt before a decode run is kept
under $LANNER_CACHE/peers/states and read from there the next time. Uses the library that install.sh builds through the
ctypes declarations of the same source archive.
"""
import ctypes
import json
import os
import pathlib
import random
import statistics
import sys
import time
import types

PEERS = pathlib.Path(os.environ.get("LANNER_CACHE")
                     or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "lanner") / "peers"
os.environ["LLAMA_CPP_LIB_PATH"] = str(PEERS / "llama-build" / "bin")
# The declarations alone: the package itself would import what only chats need.
package = types.ModuleType("llama_cpp")
package.__path__ = [str(PEERS / "llama-src" / "llama_cpp")]
sys.modules["llama_cpp"] = package
import llama_cpp.llama_cpp as llama  # pylint: disable=wrong-import-position


class Runner:
    def __init__(self, model, threads, context, sequences):
        self.path = pathlib.Path(model)
        llama.llama_backend_init()
        self.model = llama.llama_model_load_from_file(str(model).encode(), llama.llama_model_default_params())
        params = llama.llama_context_default_params()
        params.n_ctx = context
        params.n_batch = 2048
        params.n_ubatch = 512
        params.n_seq_max = sequences
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = True
        self.context = llama.llama_init_from_model(self.model, params)
        if not self.context:
            sys.exit("llama.cpp cannot make a context")
        self.memory = llama.llama_get_memory(self.context)
        self.batch = llama.llama_batch_init(2048, 0, 1)
        self.draw = random.Random(1)

    def step(self, tokens):
        """Runs a list of (position, sequence, wants logits) with random token ids."""
        batch = self.batch
        batch.n_tokens = len(tokens)
        for i, (position, sequence, logits) in enumerate(tokens):
            batch.token[i] = self.draw.randrange(300, 30000)
            batch.pos[i] = position
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = sequence
            batch.logits[i] = logits
        status = llama.llama_decode(self.context, batch)
        if status != 0:
            sys.exit(f"llama_decode ended with status {status}")
        llama.llama_synchronize(self.context)

    def prefill(self, length, sequence=0):
        llama.llama_memory_seq_rm(self.memory, sequence, -1, -1)
        for begin in range(0, length, 2048):
            end = min(begin + 2048, length)
            self.step([(p, sequence, p == length - 1) for p in range(begin, end)])

    def fill(self, depth, sequence):
        """The cache of a random prompt, from a file if there is one."""
        file = PEERS / "states" / f"{self.path.stem}-{depth}"
        file.parent.mkdir(exist_ok=True)
        tokens = (llama.llama_token * depth)()
        if not file.exists():
            self.prefill(depth, sequence)
            if llama.llama_state_seq_save_file(self.context, str(file).encode(), sequence, tokens, depth) == 0:
                sys.exit(f"llama.cpp cannot write {file}")
            return
        count = ctypes.c_size_t(0)
        if llama.llama_state_seq_load_file(self.context, str(file).encode(), sequence, tokens, depth,
                                           ctypes.byref(count)) == 0:
            sys.exit(f"llama.cpp cannot read {file}")


def measure(runner, prompt, batch, generate):
    """Tokens per second of one run."""
    if generate == 0:
        start = time.perf_counter()
        runner.prefill(prompt)
        return prompt / (time.perf_counter() - start)
    for sequence in range(batch):
        llama.llama_memory_seq_rm(runner.memory, sequence, prompt, -1)
    start = time.perf_counter()
    for i in range(generate):
        runner.step([(prompt + i, sequence, 1) for sequence in range(batch)])
    return batch * generate / (time.perf_counter() - start)


def main():
    log = llama.llama_log_callback(lambda level, text, data: None)
    llama.llama_log_set(log, ctypes.c_void_p(0))
    if sys.argv[1] == "--quantize":
        params = llama.llama_model_quantize_default_params()
        params.ftype, params.nthread = llama.LLAMA_FTYPE_MOSTLY_Q4_K_M, int(sys.argv[4])
        sys.exit(llama.llama_model_quantize(sys.argv[2].encode(), sys.argv[3].encode(), ctypes.byref(params)))
    model, threads, repeat = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    points = [tuple(map(int, point.split(","))) for point in sys.argv[4:]]
    context = max(batch * (prompt + generate + 8) for prompt, batch, generate in points) + 256
    runner = Runner(model, threads, context, max(batch for _, batch, _ in points))
    results = []
    for prompt, batch, generate in points:
        llama.llama_memory_clear(runner.memory, True)
        if generate > 0 and prompt > 0:
            for sequence in range(batch):
                runner.fill(prompt, sequence)  # once; a run overwrites what the one before it generated
        rates = [measure(runner, prompt, batch, generate) for _ in range(repeat + 1)]
        results.append(statistics.median(rates[1:]))  # the first one warms up
    print(json.dumps(results))


if __name__ == "__main__":
    main()
