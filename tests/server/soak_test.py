# SPDX-License-Identifier: Apache-2.0
"""soak_test.py PROGRAM [--seconds N] [--streams N] [--model PATH]: many streams, clients that leave in every phase, slow readers.
Memory, file descriptors and running requests must return to where they were, /health must stay quick, and what the
others get must be right. With --model PROGRAM is the real `lanner`, and answers are compared with each other."""

import argparse
import json
import multiprocessing
import os
import random
import socket
import statistics
import sys
import threading
import time

from harness import PATIENCE, Server, backwards, chat, make_request, read_answer

parser = argparse.ArgumentParser()
parser.add_argument("program")
parser.add_argument("--seconds", type=float, default=8)
parser.add_argument("--streams", type=int, default=40)
parser.add_argument("--model")
parser.add_argument("--health-p99-ms", type=float, help="fail above it (only on a machine that does nothing else)")
parser.add_argument("--rss-growth-mib", type=float, default=32, help="fail above it in the second half; 0: unchecked (sanitizers)")
options = parser.parse_args()

stop = threading.Event()
lock = threading.Lock()
counts = {"whole": 0, "left": 0, "slow": 0, "wrong": 0, "refused": 0}
expected = {}
problems = []


def note(what):
    with lock:
        counts[what] += 1


def client(server, seed):
    rng = random.Random(seed)
    while not stop.is_set():
        kind = rng.choices(["whole", "leave", "slow"], [5, 4, 1])[0]
        text = f"stream {seed % 16}" if options.model else f"stream {seed} {rng.randrange(1000)}"
        tokens = rng.choice([3, 20, 60])
        raw = make_request("POST", "/v1/chat/completions",
                           chat(text, max_tokens=100000 if kind == "slow" else tokens, ignore_eos=True, temperature=0, stream=True))
        try:
            with socket.socket() as connection:
                connection.settimeout(PATIENCE)
                if kind == "slow":
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.connect(("127.0.0.1", server.port))
                if kind == "leave":
                    sent = rng.choice([10, len(raw) - 5, len(raw), len(raw), len(raw)])
                    connection.sendall(raw[:sent])
                    # Nothing comes where half a request was sent.
                    for _ in range(rng.choice([0, 0, 1, 5]) if sent == len(raw) else 0):
                        connection.recv(300)
                    if rng.random() < 0.5:
                        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    note("left")
                    continue
                connection.sendall(raw)
                if kind == "slow":
                    connection.recv(100)
                    stop.wait(rng.random())
                    note("slow")
                    continue
                check(text, tokens, read_answer(connection))
        except (ConnectionError, socket.timeout) as error:
            with lock:
                problems.append(f"{kind}: {error}")


def check(text, tokens, answer):
    if answer.status != 200:
        note("refused")
        return
    got = "".join(e["choices"][0]["delta"].get("content", "") for e in answer.events if e.get("choices"))
    wanted = backwards(text, tokens)
    if options.model:
        with lock:
            wanted = expected.setdefault((text, tokens), got)
    right = got == wanted and answer.text.endswith("data: [DONE]\n\n")
    note("whole" if right else "wrong")
    if not right:
        with lock:
            problems.append(f"{text!r}: got {got!r}, wanted {wanted!r}")


def resident_kib(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))


def open_fds(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def slope(points):
    """Least squares, in units of y per unit of x."""
    mean_x = statistics.fmean(x for x, _ in points)
    mean_y = statistics.fmean(y for _, y in points)
    below = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / below if below else 0


def watch_health(server, seconds, results):
    """In a process of its own: the clients' threads would be measured with it."""
    times, begin = [], time.monotonic()
    while time.monotonic() - begin < seconds:
        sent = time.monotonic()
        if server.get("/health").status != 200:
            return results.put(None)
        times.append(time.monotonic() - sent)
        time.sleep(0.05)
    results.put(sorted(times))


def main():
    model = options.model or "step_us=2000,sequences=64"
    name = model if options.model else "tiny"
    arguments = ["--limit", "requests_per_key=100000", "--limit", "write_buffer_bytes=65536"]
    with Server(options.program, *arguments, model=model) as server:
        pid = server.process.pid
        server.post("/v1/chat/completions", chat("warm up", max_tokens=3))
        fds = open_fds(pid)
        fork = multiprocessing.get_context("fork")
        results = fork.Queue()
        watcher = fork.Process(target=watch_health, args=(server, options.seconds, results), daemon=True)
        watcher.start()
        threads = [threading.Thread(target=client, args=(server, i)) for i in range(options.streams)]
        for thread in threads:
            thread.start()
        memory, begin, most_blocks = [], time.monotonic(), 0
        while time.monotonic() - begin < options.seconds:
            memory.append((time.monotonic() - begin, resident_kib(pid)))
            most_blocks = max(most_blocks, server.metric("lanner_kv_blocks_used", '{model="tiny"}'))
            time.sleep(0.25)
        health = results.get(timeout=PATIENCE)
        assert health, "/health was not 200"
        stop.set()
        for thread in threads:
            thread.join(PATIENCE)
        label = '{model="%s"}' % "tiny"
        server.wait_until(lambda: server.metric("lanner_requests_running", label) == 0
                          and server.metric("lanner_requests_waiting", label) == 0, "an idle model")
        # The connection that asks is one of them.
        server.wait_until(lambda: server.metric("lanner_http_connections") <= 1, "no open connections")
        server.wait_until(lambda: open_fds(pid) <= fds, f"{fds} open files again")
        blocks = server.metric("lanner_kv_blocks_used", label)
        late = [point for point in memory if point[0] > options.seconds / 2]
        result = {"seconds": options.seconds, "streams": options.streams, **counts,
                  "health_p50_ms": health[len(health) // 2] * 1e3, "health_p99_ms": health[int(len(health) * 0.99)] * 1e3,
                  "rss_mib": memory[-1][1] / 1024, "rss_slope_kib_per_s": slope(late), "open_fds": fds, "kv_blocks_most": most_blocks,
                  "kv_blocks_used": blocks,
                  "slow_readers_dropped": server.metric("lanner_slow_readers_total")}
        print(json.dumps(result))
        assert not problems, problems[:5]
        assert counts["wrong"] == 0 and counts["whole"] > 0 and counts["left"] > 0, counts
        assert blocks == 0, "KV blocks are still held"
        # A leak of one request's state each would be far more.
        grown = (late[-1][1] - late[0][1]) / 1024
        assert not options.rss_growth_mib or grown < options.rss_growth_mib, f"memory grows: {late[0]} -> {late[-1]}"
        if options.health_p99_ms:
            assert result["health_p99_ms"] < options.health_p99_ms, result
        server.terminate()
        assert server.wait() == 0


if __name__ == "__main__":
    sys.exit(main())
