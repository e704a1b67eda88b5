#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""serve_compare.py LANNER MODEL.gguf [--server LLAMA_SERVER] [--rounds N]: Lanner's server and llama.cpp's under the same
load, in turn on the same machine: the same file, threads, sequences, prompts (`lanner bench serve`, random token ids) and
lengths. Prints a table of medians and the ratios; --json for the figures of each round."""

import argparse
import json
import os
import socket
import statistics
import subprocess
import time
import urllib.error
import urllib.request

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("lanner")
parser.add_argument("model")
cache = os.environ.get("LANNER_CACHE") or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "lanner")
parser.add_argument("--server", default=cache + "/peers/llama-build/bin/llama-server")
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--streams", type=int, default=16)
parser.add_argument("--requests", type=int, default=32)
parser.add_argument("--prompt", type=int, default=512)
parser.add_argument("--generate", type=int, default=128)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--json", action="store_true")
options = parser.parse_args()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def command_of(engine, port):
    context = options.prompt + options.generate + 64
    if engine == "lanner":
        return [options.lanner, "serve", "--model", "m=" + options.model, "--port", str(port), "--threads", str(options.threads),
                "--max-sequences", str(options.streams), "--max-context", str(context), "--access-log", "off"]
    return [options.server, "-m", options.model, "--port", str(port), "-t", str(options.threads), "-tb", str(options.threads),
            "-np", str(options.streams), "-c", str(context * options.streams), "--no-webui"]


def measure(engine):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command_of(engine, port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(1200):
                if server.poll() is not None:
                    raise SystemExit(f"{engine} has ended with {server.returncode}")
                try:
                    if urllib.request.urlopen(url + "/health", timeout=5).status == 200:
                        break
                except (urllib.error.URLError, OSError):
                    time.sleep(0.1)
            result = subprocess.run(
                [options.lanner, "bench", "serve", url, "--concurrency", str(options.streams), "--requests", str(options.requests),
                 "--prompt", str(options.prompt), "--generate", str(options.generate), "--json"],
                capture_output=True, text=True, check=False)
            report = json.loads(result.stdout)
            if report["failed"]:
                raise SystemExit(f"{engine}: {report['failed']}")
            return report
        finally:
            server.kill()


def main():
    rounds = [{engine: measure(engine) for engine in ("lanner", "llama.cpp")} for _ in range(options.rounds)]
    if options.json:
        print(json.dumps(rounds))
        return
    print(f"{os.path.basename(options.model)}, {options.streams} streams, {options.prompt} + {options.generate} tokens, "
          f"{options.threads} threads, medians of {options.rounds} rounds")
    rows = (("output tok/s", lambda r: r["throughput"]["output_tokens_per_s"]), ("TTFT p50 ms", lambda r: r["latency"]["ttft_ms"]["p50"]),
            ("TTFT p99 ms", lambda r: r["latency"]["ttft_ms"]["p99"]), ("TPOT p50 ms", lambda r: r["latency"]["tpot_ms"]["p50"]),
            ("TPOT p99 ms", lambda r: r["latency"]["tpot_ms"]["p99"]))
    print(f"{'':14}{'lanner':>12}{'llama.cpp':>12}{'ratio':>8}")
    for name, value in rows:
        ours = statistics.median(value(r["lanner"]) for r in rounds)
        theirs = statistics.median(value(r["llama.cpp"]) for r in rounds)
        ratio = statistics.median(value(r["lanner"]) / value(r["llama.cpp"]) for r in rounds)
        print(f"{name:14}{ours:12.1f}{theirs:12.1f}{ratio:8.2f}")


if __name__ == "__main__":
    main()
