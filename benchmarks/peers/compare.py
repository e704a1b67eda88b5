#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures Lanner and its peers in alternating rounds on the same GGUF files, and prints the ratios.

Usage: compare.py [--models FOLDER] [--types bf16,q8_0,q4_0] [--points decode,prefill,batch16,depth4096]
                  [--peers llama.cpp,openvino,ctranslate2] [--rounds 3] [--threads N] [--lanner PROGRAM] [--results FILE] [--table]

install.sh installs the peers and make_models.py writes the models, both under $LANNER_CACHE/peers. Every round runs all
programs one after another on one file, each with one load for all points; a row gives the medians over the rounds, and the
median of the rounds' ratios. --results FILE keeps every round (one JSON object per line), so that a table can grow over
several runs; --table prints it and measures nothing. What llama.cpp has cached at a depth is computed once and kept under
$LANNER_CACHE/peers/states. Nothing else should run meanwhile.
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
HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent

# Name -> (prompt tokens of a prefill or depth of a decode run, sequences, generated tokens; 0: the prefill is measured).
POINTS = {
    "decode": (0, 1, 32),
    "prefill": (512, 1, 0),
    "batch16": (0, 16, 32),
    "depth4096": (4096, 1, 32),
}
LANNER_REPEATS = 3
PEER_REPEATS = 2


def output_of(command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with status {done.returncode}: {done.stderr.strip()[-400:]}")
    return done.stdout


def run_lanner(arguments, model, points):
    """The results of the points, by name. Decode runs of one depth share a load."""
    command = [arguments.lanner, "bench", "model", model, "--json", "--threads", arguments.threads,
               "--repeat", LANNER_REPEATS]
    prefill = [p for p in points if POINTS[p][2] == 0]
    decode = [p for p in points if POINTS[p][2] > 0]
    prompt = POINTS[prefill[0]][0] if prefill else 16
    results = {}
    for depth in sorted({POINTS[p][0] for p in decode} or {0}):
        here = [p for p in decode if POINTS[p][0] == depth]
        batches = sorted({POINTS[p][1] for p in here} or {1})
        generate = max([POINTS[p][2] for p in here], default=2)
        report = json.loads(output_of([*command, "--prompt", prompt, "--generate", generate, "--depth", depth,
                                       "--batch", ",".join(map(str, batches))]))
        for point in prefill:
            row = report["prefill"][0]
            results[point] = {"tokens_per_s": row["tokens_per_s"], "share": row["share_of_peak"]}
        for point in here:
            row = next(r for r in report["decode"] if (r["depth"], r["batch"]) == POINTS[point][:2])
            results[point] = {"tokens_per_s": row["tokens_per_s"], "share": row["share_of_bandwidth"],
                              "times_roofline": row["times_roofline"], "read_gbps": report["machine"]["read_gbps"]}
        prefill, prompt = [], 16  # once
    return results


def run_in_venv(script):
    def run(arguments, model, points):
        printed = output_of([PEERS / "venv" / "bin" / "python", HERE / script, model, arguments.threads, PEER_REPEATS,
                             *[",".join(map(str, POINTS[p])) for p in points]])
        return dict(zip(points, [{"tokens_per_s": rate} for rate in json.loads(printed.splitlines()[-1])]))
    return run


RUNNERS = {"lanner": run_lanner, "llama.cpp": run_in_venv("llama_cpp_run.py"), "openvino": run_in_venv("openvino_run.py"),
           "ctranslate2": run_in_venv("ctranslate2_run.py")}


def measure(arguments):
    rounds = []
    points = arguments.points.split(",")
    for type_name in arguments.types.split(","):
        model = arguments.models / f"llama-1b-{type_name}.gguf"
        for number in range(arguments.rounds):
            done = {p: {"time": datetime.datetime.now().isoformat(timespec="seconds"), "type": type_name, "point": p}
                    for p in points}
            for program in ["lanner", *arguments.peers.split(",")]:
                print(f"\r\033[K{type_name}, round {number + 1}: {program} …", end="", file=sys.stderr, flush=True)
                try:
                    for point, result in RUNNERS[program](arguments, model, points).items():
                        done[point][program] = result
                except RuntimeError as failure:
                    print(f"\n{program}: {failure}", file=sys.stderr)
            rounds += done.values()
            if arguments.results:
                with open(arguments.results, "a", encoding="utf-8") as file:
                    file.writelines(json.dumps(d) + "\n" for d in done.values())
    print("\r\033[K", end="", file=sys.stderr)
    return rounds


def median_of(rounds, program, key="tokens_per_s"):
    values = [r[program][key] for r in rounds if program in r and r[program].get(key) is not None]
    return statistics.median(values) if values else None


def print_table(rounds):
    programs = [p for p in RUNNERS if p != "lanner" and any(p in r for r in rounds)]
    head = ["file", "point", "rounds", "lanner tok/s", "share", "× roofline"]
    for program in programs:
        head += [f"{program} tok/s", "ratio"]
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for type_name, point in dict.fromkeys((r["type"], r["point"]) for r in rounds):
        those = [r for r in rounds if (r["type"], r["point"]) == (type_name, point) and "lanner" in r]
        if not those:
            continue
        share = median_of(those, "lanner", "share")
        roofline = median_of(those, "lanner", "times_roofline")
        row = [type_name.upper(), point, str(len(those)), f"{median_of(those, 'lanner'):.1f}",
               "–" if share is None else f"{share:.0%}", "–" if roofline is None else f"{roofline:.2f}"]
        for program in programs:
            both = [r for r in those if program in r]
            if not both:
                row += ["–", "–"]
                continue
            ratio = statistics.median(r["lanner"]["tokens_per_s"] / r[program]["tokens_per_s"] for r in both)
            row += [f"{median_of(both, program):.1f}", f"{ratio:.2f}×"]
        print("| " + " | ".join(row) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=pathlib.Path, default=PEERS / "models")
    parser.add_argument("--types", default="bf16,q8_0,q4_0")
    parser.add_argument("--points", default=",".join(POINTS))
    parser.add_argument("--peers", default="llama.cpp,openvino,ctranslate2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--lanner", default=REPOSITORY / "build" / "release" / "bin" / "lanner")
    parser.add_argument("--results", help="file to append every round to")
    parser.add_argument("--table", action="store_true", help="print the table of --results, measure nothing")
    arguments = parser.parse_args()
    for point in arguments.points.split(","):
        if point not in POINTS:
            parser.error(f"no point '{point}'; there are: {', '.join(POINTS)}")
    for peer in arguments.peers.split(","):
        if peer not in RUNNERS:
            parser.error(f"no peer '{peer}'; there are: {', '.join(list(RUNNERS)[1:])}")
    rounds = [] if arguments.table else measure(arguments)
    if arguments.results:
        with open(arguments.results, encoding="utf-8") as file:
            rounds = [json.loads(line) for line in file]
    print_table(rounds)


if __name__ == "__main__":
    main()
