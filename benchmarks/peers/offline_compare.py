#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures Lanner and llama.cpp with many requests at once: `lanner bench serve-offline` and `llama-batched-bench` in turn, on
the same GGUF files, threads, numbers of requests and lengths. Prints a table of output tokens per second, prompts included.

N requests come together, with as many prompt tokens each, and generate as many tokens each; both programs compute N prompts and
then as many steps of N tokens.

    benchmarks/peers/install.sh llama.cpp
    ~/.cache/lanner/peers/venv/bin/python benchmarks/peers/make_models.py ~/.cache/lanner/peers/models
    benchmarks/peers/offline_compare.py --rounds 3 --results runs.jsonl

Every run is appended to --results; --table prints the table of that file and measures nothing.
"""

import argparse
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys

CACHE = pathlib.Path(os.environ.get("LANNER_CACHE")
                     or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "lanner")
PEERS = CACHE / "peers"
REPOSITORY = pathlib.Path(__file__).resolve().parent.parent.parent


def output_of(command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with status {done.returncode}: {done.stderr.strip()[-400:]}")
    return done.stdout


def run_lanner(arguments, model, concurrency):
    # The first token comes with the prompt: one more, so that as many steps follow as llama.cpp computes.
    report = json.loads(output_of([
        arguments.lanner, "bench", "serve-offline", model, "--threads", arguments.threads, "--concurrency", concurrency,
        "--requests", concurrency, "--prompt", arguments.prompt, "--generate", arguments.generate + 1, "--no-speculation", "--json"]))
    row = report["serve_offline"][0]
    return {"tokens_per_s": concurrency * arguments.generate / row["seconds"], "overhead": row["overhead_share"]}


def run_llama_cpp(arguments, model, concurrency):
    context = concurrency * (arguments.prompt + arguments.generate)
    output = output_of([
        arguments.batched_bench, "-m", model, "-t", arguments.threads, "-tb", arguments.threads, "-c", context, "-npp",
        arguments.prompt, "-ntg", arguments.generate, "-npl", concurrency, "--output-format", "jsonl"])
    row = json.loads(next(line for line in output.splitlines() if line.startswith("{")))
    return {"tokens_per_s": concurrency * arguments.generate / row["t"]}


RUNNERS = {"lanner": run_lanner, "llama.cpp": run_llama_cpp}


def measure(arguments):
    runs = []
    for type_name in arguments.types.split(","):
        model = arguments.models / f"llama-1b-{type_name}.gguf"
        for concurrency in map(int, arguments.concurrency.split(",")):
            for number in range(arguments.rounds):
                for program in arguments.programs.split(","):
                    print(f"\r\033[K{type_name}, {concurrency} at a time, round {number + 1}: {program} …", end="", file=sys.stderr,
                          flush=True)
                    run = {"time": datetime.datetime.now().isoformat(timespec="seconds"), "type": type_name,
                           "prompt": arguments.prompt, "generate": arguments.generate, "concurrency": concurrency,
                           "program": program, **RUNNERS[program](arguments, model, concurrency)}
                    runs.append(run)
                    if arguments.results:
                        with open(arguments.results, "a", encoding="utf-8") as file:
                            file.write(json.dumps(run) + "\n")
    print("\r\033[K", end="", file=sys.stderr)
    return runs


def print_table(runs):
    print("| file | prompt + output | at a time | rounds | lanner tok/s | llama.cpp tok/s | ratio | overhead |")
    print("|---|---|---|---|---|---|---|---|")
    for point in sorted({(r["type"], r["prompt"], r["generate"], r["concurrency"]) for r in runs}):
        those = [r for r in runs if (r["type"], r["prompt"], r["generate"], r["concurrency"]) == point]
        ours = [r for r in those if r["program"] == "lanner"]
        theirs = [r for r in those if r["program"] == "llama.cpp"]
        if not ours or not theirs:
            continue
        # The runs of a round follow one another: what the machine does at the time, it does to both.
        ratios = [a["tokens_per_s"] / b["tokens_per_s"] for a, b in zip(ours, theirs)]
        type_name, prompt, generate, concurrency = point
        print(f"| {type_name.upper()} | {prompt} + {generate} | {concurrency} | {len(ratios)} | "
              f"{statistics.median(r['tokens_per_s'] for r in ours):.1f} | "
              f"{statistics.median(r['tokens_per_s'] for r in theirs):.1f} | {statistics.median(ratios):.2f}× | "
              f"{statistics.median(r['overhead'] for r in ours):.1%} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=pathlib.Path, default=PEERS / "models")
    parser.add_argument("--types", default="q8_0,q4_0")
    parser.add_argument("--concurrency", default="1,4,16,64")
    # An eighth of the means of ShareGPT, which `lanner bench serve-offline` draws from: 161 tokens in and 338 out.
    parser.add_argument("--prompt", type=int, default=20, help="tokens of every prompt")
    parser.add_argument("--generate", type=int, default=42, help="tokens of every answer")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--programs", default=",".join(RUNNERS), help="in this order")
    parser.add_argument("--lanner", default=REPOSITORY / "build" / "release" / "bin" / "lanner")
    parser.add_argument("--batched-bench", default=PEERS / "llama-build" / "bin" / "llama-batched-bench")
    parser.add_argument("--results", help="file to append every run to")
    parser.add_argument("--table", action="store_true", help="print the table of --results, measure nothing")
    arguments = parser.parse_args()
    for program in arguments.programs.split(","):
        if program not in RUNNERS:
            parser.error(f"no program '{program}'; there are: {', '.join(RUNNERS)}")
    runs = [] if arguments.table else measure(arguments)
    if arguments.results:
        with open(arguments.results, encoding="utf-8") as file:
            runs = [json.loads(line) for line in file]
    print_table(runs)


if __name__ == "__main__":
    main()
