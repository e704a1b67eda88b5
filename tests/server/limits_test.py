# SPDX-License-Identifier: Apache-2.0
"""limits_test.py PROGRAM: walks the table of limits: each has a default in --help, a way to pass it, the status that its
row says, its name in the error, and a count in the metrics."""

import re
import socket
import subprocess
import unittest

from harness import PATIENCE, Server, chat, make_request, program, read_answer

PROGRAM = program()
LONG = dict(max_tokens=1000000, ignore_eos=True, stream=True)
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "description": "d" * 50}}}
RESPONSES_TOOL = {"type": "function", "name": "f", "parameters": {"type": "object", "description": "d" * 50}}


def post(path, body):
    return lambda server: [server.post(path, body)]


def posts(*asked):
    return lambda server: [server.post(path, body) for path, body in asked]


def chats(*bodies):
    return posts(*(("/v1/chat/completions", body) for body in bodies))


def send_part(raw):
    """Sends the beginning of a request and waits for what comes."""
    def run(server):
        with server.connect() as connection:
            connection.sendall(raw)
            return [read_answer(connection)]
    return run


def say_nothing(server):
    with server.connect() as connection:
        assert connection.recv(100) == b"", "an idle connection hears something"
    return []


def crowd(server):
    held = []
    try:
        for _ in range(64):  # those that are being closed count for a moment
            held.append(server.connect())
            held[-1].sendall(make_request("GET", "/health", headers={"Connection": "keep-alive"}))
            answer = read_answer(held[-1])
            if answer.status != 200:
                return [answer]
        raise AssertionError("nobody was turned away")
    finally:
        for connection in held:
            connection.close()


def do_not_read(server):
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(PATIENCE)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(make_request("POST", "/v1/chat/completions", chat("abc", **LONG)))
        server.wait_until(lambda: server.metric("lanner_slow_readers_total") == 1, "a slow reader")
    return []


def behind_others(others):
    """A request while so many others are under way."""
    def run(server):
        streams = []
        for number in range(others):
            streams.append(server.connect())
            streams[-1].sendall(make_request("POST", "/v1/chat/completions", chat("abc", **LONG)))
            server.wait_until(lambda: sum(server.metric(f"lanner_requests_{what}", '{model="tiny"}')
                                          for what in ("running", "waiting")) == number + 1, "one more")
        answer = server.post("/v1/chat/completions", chat("x", stream=True))
        for stream in streams:
            stream.close()
        return [answer]
    return run


ONE = ("--max-sequences", "1")
# name -> (value, further arguments, what passes it, status or None for closed)
CASES = {
    "header_bytes": (300, (), lambda s: [s.get("/health", {"X": "a" * 400})], 431),
    "header_count": (8, (), lambda s: [s.get("/health", {f"X-{i}": "a" for i in range(9)})], 431),
    "header_timeout": (1, (), send_part(b"GET /health HTTP/1.1\r\nHo"), 408),
    "body_bytes": (100, (), post("/v1/completions", {"prompt": "a" * 100}), 413),
    "body_timeout": (1, (), send_part(make_request("POST", "/v1/completions", {"prompt": "abc"})[:-2]), 408),
    "idle_timeout": (1, (), say_nothing, None),
    "connections": (3, (), crowd, 503),
    "write_buffer_bytes": (4096, (), do_not_read, None),
    "write_timeout": (1, ("--limit", "write_buffer_bytes=1000000000"), do_not_read, None),
    "json_depth": (4, (), post("/v1/chat/completions", chat("x", tools=[{"a": {"b": {"c": {}}}}])), 400),
    "messages": (1, (), posts(("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}] * 2}),
                              ("/v1/responses", {"input": [{"role": "user", "content": "x"}] * 2})), 400),
    "tools": (1, (), posts(("/v1/chat/completions", chat("x", tools=[TOOL] * 2)),
                           ("/v1/responses", {"input": "x", "tools": [RESPONSES_TOOL] * 2})), 400),
    "prompts": (1, (), post("/v1/completions", {"prompt": ["a", "b"]}), 400),
    "inputs": (1, (), post("/v1/embeddings", {"input": ["a", "b"]}), 400),
    "stop_strings": (1, (), chats(chat("x", stop=["a", "b"])), 400),
    "n": (2, (), posts(("/v1/chat/completions", chat("x", n=3)), ("/v1/completions", {"prompt": "x", "best_of": 3})), 400),
    "max_tokens": (5, (), posts(("/v1/chat/completions", chat("x", max_tokens=6)), ("/v1/chat/completions", chat("x", max_completion_tokens=6)),
                                ("/v1/responses", {"input": "x", "max_output_tokens": 6}),
                                ("/v1/completions", {"prompt": "x", "min_tokens": 6})), 400),
    "top_logprobs": (2, (), posts(("/v1/chat/completions", chat("x", logprobs=True, top_logprobs=3)),
                                  ("/v1/completions", {"prompt": "x", "logprobs": 3})), 400),
    "logit_bias": (1, (), chats(chat("x", logit_bias={"5": 1, "6": 1})), 400),
    "schema_bytes": (20, (), posts(
        ("/v1/chat/completions", chat("x", guided_regex="a" * 21)), ("/v1/chat/completions", chat("x", tools=[TOOL])),
        ("/v1/responses", {"input": "x", "tools": [RESPONSES_TOOL]}),
        ("/v1/chat/completions", chat("x", response_format={"type": "json_schema", "json_schema": {
            "name": "n", "schema": {"type": "object", "description": "d"}}}))), 400),
    "requests_per_key": (1, (), behind_others(1), 429),
    "queue_length": (1, ONE, behind_others(2), 503),
    "queue_timeout": (1, ONE, behind_others(1), 503),
}


class LimitsTest(unittest.TestCase):
    def test_every_limit_has_a_case(self):
        text = subprocess.run([PROGRAM, "serve", "--help"], capture_output=True, text=True, check=True, timeout=PATIENCE).stdout
        table = text.split("Limits (--limit NAME=VALUE)")[1].split("\n\n")[0]
        self.assertEqual(set(re.findall(r"^ +([a-z_]+) +\d+  ", table, re.M)), set(CASES))


def make_case(name, value, arguments, passes, status):
    def test(self):
        with Server(PROGRAM, "--limit", f"{name}={value}", *arguments, model="step_us=100,sequences=8") as server:
            answers = passes(server)
            for answer in answers:
                self.assertEqual(answer.status, status, answer.text)
                self.assertEqual(answer.json["error"]["code"], "limit_" + name, answer.text)
                if status in (429, 503):
                    self.assertIn("retry-after", answer.headers)
            counted = '{limit="%s"}' % name
            server.wait_until(lambda: server.metric("lanner_limit_rejections_total", counted) >= max(1, len(answers)), "a count")
            self.assertEqual(server.get("/health").status, 200)
    return test


for _name, _case in CASES.items():
    setattr(LimitsTest, "test_" + _name, make_case(_name, *_case))

if __name__ == "__main__":
    unittest.main()
