# SPDX-License-Identifier: Apache-2.0
"""hostile_test.py PROGRAM [--seconds N]: bytes on raw sockets that no good client sends. After each the server still
answers. --seconds: so long mutations of requests are sent instead of one second's."""

import json
import random
import socket
import sys
import time
import unittest

from harness import Server, chat, make_request, program, read_answer, read_answer_of_file

PROGRAM = program()
SECONDS = 1.0
if "--seconds" in sys.argv:
    at = sys.argv.index("--seconds")
    SECONDS = float(sys.argv[at + 1])
    del sys.argv[at:at + 2]

HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
GOOD = b'{"prompt": "abc", "max_tokens": 3}'


class HostileTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(PROGRAM, "--limit", "header_timeout=2", "--limit", "body_timeout=2", "--limit", "body_bytes=100000")

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def tearDown(self):
        self.assertTrue(self.server.alive())
        body = self.server.post("/v1/completions", {"prompt": "abc", "max_tokens": 3}).json
        self.assertEqual(body["choices"][0]["text"], "cba")

    def send(self, raw, end=False):
        """The status that the bytes get, or None if the connection just ends."""
        with self.server.connect() as connection:
            try:
                connection.sendall(raw)
                if end:
                    connection.shutdown(socket.SHUT_WR)
                return read_answer(connection).status
            except ConnectionError:
                return None

    def test_not_http(self):
        for raw in (b"\r\n\r\n\r\n", b"\x00" * 100, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x01" * 200, b"GET\r\n\r\n",
                    b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1 \r\n\r\n", b"G\x00T / HTTP/1.1\r\nHost: localhost\r\n\r\n",
                    b"GET / HTTP/1.1\r\nHost: localhost\r\nA\x00B: c\r\n\r\n", b"GET / HTTP/1.1\r\nHost: localhost\r\nA: b\x00c\r\n\r\n",
                    b"GET / HTTP/1.1\r\n: x\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n", "GET /\u00e9 HTTP/1.1\r\n\r\n".encode(),
                    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET  / HTTP/1.1\r\n\r\n"):
            self.assertIn(self.send(raw, end=True), (400, 408, 421, None), raw)

    def test_sizes(self):
        for size in (b"-1", b"+5", b"0x10", b"1e3", b"", b" ", b"99999999999999999999999", b"18446744073709551616", b"abc", b"5 5", b"5,6"):
            self.assertIn(self.send(HEAD + b"Content-Length: " + size + b"\r\n\r\n" + GOOD, end=True), (400, 413), size)
        self.assertEqual(self.send(HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n" + GOOD, end=True), 400)
        self.assertEqual(self.send(HEAD + b"Content-Length: 100001\r\n\r\n"), 413)
        self.assertEqual(self.send(HEAD + b"Content-Length: 34\r\nTransfer-Encoding: chunked\r\n\r\n" + GOOD, end=True), 400)
        for encoding in (b"gzip", b"chunked, chunked", b"identity", b"xchunked"):
            self.assertIn(self.send(HEAD + b"Transfer-Encoding: " + encoding + b"\r\n\r\n0\r\n\r\n", end=True), (400, 415, 501, None), encoding)
        self.assertEqual(self.send(HEAD + b"\r\n", end=True), 400)  # no length: an empty body

    def test_chunks(self):
        for chunks in (b"-1\r\n", b"g\r\n", b"ffffffffffffffffff\r\n", b"3\r\nabcd\r\n0\r\n\r\n", b"\r\n", b"5;" + b"x" * 70000 + b"\r\n"):
            self.assertIn(self.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks, end=True), (400, 413, 431, None), chunks[:20])

    def test_one_byte_chunks(self):
        body = b"".join(b"1\r\n%c\r\n" % byte for byte in GOOD) + b"0\r\n\r\n"
        self.assertEqual(self.send(HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + body), 200)

    def test_one_byte_at_a_time(self):
        with self.server.connect() as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in make_request("POST", "/v1/completions", GOOD):
                connection.sendall(bytes([byte]))
            self.assertEqual(read_answer(connection).status, 200)

    def test_endless_chunked_body(self):
        with self.server.connect() as connection:
            connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
            try:
                for _ in range(10000):
                    connection.sendall(b"400\r\n" + b" " * 1024 + b"\r\n")
            except ConnectionError:
                return
            self.fail("the server takes everything")

    def test_headers(self):
        many = b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"x%d: y\r\n" % i for i in range(200))
        self.assertEqual(self.send(many + b"\r\n"), 431)
        many = b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"x%d: y\r\n" % i for i in range(10000))
        self.assertIn(self.send(many + b"\r\n"), (431, None))
        self.assertIn(self.send(b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"), (431, None))
        self.assertIn(self.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100000 + b"\r\n\r\n"), (431, None))

    def test_content_encoding(self):
        self.assertEqual(self.send(HEAD + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"), 415)

    def test_slow_headers_and_bodies_end(self):
        for begin in (b"GET /health HTTP/1.1\r\nHost: loc", HEAD + b"Content-Length: 100\r\n\r\n{"):
            with self.server.connect() as connection:
                connection.sendall(begin)
                self.assertEqual(read_answer(connection).status, 408)
        self.assertGreaterEqual(self.server.metric("lanner_limit_rejections_total", '{limit="body_timeout"}'), 1)

    def test_pipelining(self):
        one = make_request("POST", "/v1/completions", GOOD, {"Connection": "keep-alive"})
        with self.server.connect() as connection:
            connection.sendall(one * 20 + make_request("GET", "/version", headers={"Connection": "keep-alive"}) * 5)
            file = connection.makefile("rb")
            for _ in range(20):
                self.assertEqual(read_answer_of_file(file).json["choices"][0]["text"], "cba")
            for _ in range(5):
                self.assertEqual(read_answer_of_file(file).json["name"], "lanner")

    def test_half_close_counts_as_leaving(self):
        before = self.server.metric("lanner_client_disconnects_total")
        with self.server.connect() as connection:
            connection.sendall(make_request("POST", "/v1/completions", {"prompt": "abc", "max_tokens": 1000000, "ignore_eos": True}))
            self.server.wait_until(lambda: self.server.metric("lanner_requests_running", '{model="tiny"}') > 0, "a running request")
            connection.shutdown(socket.SHUT_WR)
            self.server.wait_until(lambda: self.server.metric("lanner_client_disconnects_total") > before, "a disconnect")
        self.server.wait_until(lambda: self.server.metric("lanner_requests_running", '{model="tiny"}') == 0, "an idle model")

    def test_http10(self):
        raw = b"POST /v1/completions HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        body = json.dumps({"prompt": "abc", "max_tokens": 3, "stream": True}).encode()
        with self.server.connect() as connection:
            connection.sendall(raw % len(body) + body)
            answer = read_answer(connection)
        self.assertNotIn("transfer-encoding", answer.headers)
        self.assertTrue(answer.text.endswith("data: [DONE]\n\n"))

    def test_expect_continue(self):
        with self.server.connect() as connection:
            connection.sendall(HEAD + b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(GOOD))
            self.assertTrue(connection.recv(100).startswith(b"HTTP/1.1 100"))
            connection.sendall(GOOD)
            self.assertEqual(read_answer(connection).status, 200)

    def test_json(self):
        for body in (b"", b"{", b"[]", b"null", b'"x"', b"{}{}", b'{"prompt": "x"', b"\xff\xfe", b'{"prompt": "\xff"}', b'{"prompt": "\\ud800"}',
                     b'{"prompt": "x", "prompt": "y"}', b"[" * 50000, b'{"a":' * 10000, b'{"prompt": ' + b"[" * 90 + b"]" * 90 + b"}",
                     b'{"prompt": "x", "max_tokens": ' + b"9" * 5000 + b"}"):
            answer = self.server.post("/v1/completions", body)
            self.assertEqual(answer.status, 400, body[:40])
            self.assertIn("message", answer.json["error"])

    def test_methods_and_paths(self):
        for method, path, status in (("PUT", "/v1/models", 405), ("GET", "/v1/chat/completions", 405), ("DELETE", "/", 405), ("BREW", "/health", 405),
                                     ("GET", "/../etc/passwd", 404), ("GET", "/v1//models", 404), ("GET", "/v1/models/%2e%2e%2f", 404),
                                     ("GET", "/v1/models/%zz%", 404), ("GET", "//", 404), ("OPTIONS", "*", 404), ("TRACE", "/health", 405)):
            self.assertEqual(self.server.request(method, path).status, status, (method, path))
        self.assertEqual(self.server.request("PUT", "/v1/models").headers["allow"], "GET")

    def test_request_ids(self):
        self.assertEqual(self.server.get("/health", {"X-Request-Id": "abc-1"}).headers["x-request-id"], "abc-1")
        for bad in ("a b", "x" * 200, "<script>", ""):
            self.assertTrue(self.server.get("/health", {"X-Request-Id": bad}).headers["x-request-id"].startswith("req-"))

    def test_clients_that_leave_everywhere(self):
        raw = make_request("POST", "/v1/chat/completions", chat("abc", max_tokens=5, stream=True))
        for cut in range(0, len(raw), 7):
            with self.server.connect() as connection:
                connection.sendall(raw[:cut])
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset

    def test_mutations(self):
        rng = random.Random(7)
        corpus = [make_request("POST", "/v1/chat/completions", chat("abc", max_tokens=2, stream=True)),
                  make_request("POST", "/v1/completions", GOOD, {"Connection": "keep-alive"}) * 2,
                  HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{\"pro\r\n10\r\nmpt\": \"abc\",\"n\":\r\n2\r\n1}\r\n0\r\n\r\n",
                  make_request("GET", "/v1/models"), make_request("OPTIONS", "/v1/models", headers={"Origin": "http://x"})]
        tokens = [b"\r\n", b"\0", b"0\r\n\r\n", b"Content-Length: ", b"-1", b"\xff" * 5, b" " * 300, b"chunked", b"{", b"99999999999", b"HTTP/1.1"]
        end = time.monotonic() + SECONDS
        sent = 0
        while time.monotonic() < end or sent < 50:
            data = bytearray(rng.choice(corpus))
            for _ in range(rng.randint(1, 8)):
                at = rng.randrange(len(data) + 1)
                kind = rng.randrange(4)
                if kind == 0 and data:
                    data[at % len(data)] = rng.randrange(256)
                elif kind == 1:
                    data[at:at] = rng.choice(tokens)
                elif kind == 2:
                    del data[at:at + rng.randint(1, 20)]
                else:
                    data[at:at] = data[at:at + rng.randint(1, 40)]
            with self.server.connect() as connection:
                try:
                    connection.sendall(data)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass
                except ConnectionError:
                    pass
            sent += 1
            self.assertTrue(self.server.alive(), bytes(data))
        print(f"{sent} mutated requests", file=sys.stderr)
        self.server.wait_until(lambda: self.server.metric("lanner_requests_running", '{model="tiny"}') == 0, "an idle model")


if __name__ == "__main__":
    unittest.main()
