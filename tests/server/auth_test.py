# SPDX-License-Identifier: Apache-2.0
"""auth_test.py PROGRAM: keys, hosts and origins, on every route of the table."""

import base64
import os
import tempfile
import unittest

from harness import Server, chat, program

PROGRAM = program()
KEY = "correct-horse-battery"
BEARER = {"Authorization": "Bearer " + KEY}


def every_route(server, headers):
    """(method, path) of every row of the router, from the document that is made of it."""
    document = server.get("/openapi.json", headers=headers).json
    return [(method.upper(), path.replace("{model}", "tiny"))
            for path, methods in document["paths"].items() for method in methods]


class AuthTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with tempfile.NamedTemporaryFile("w", suffix=".keys", delete=False) as file:
            file.write(f"# keys\n{KEY}\n\nanother-key-of-ours\n")
        cls.file = file.name
        cls.server = Server(PROGRAM, "--api-key-file", cls.file, environment={"LANNER_API_KEYS": "key-from-environment,another-one"})

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()
        os.unlink(cls.file)

    def test_every_route_but_health_needs_a_key(self):
        routes = every_route(self.server, BEARER)
        self.assertGreater(len(routes), 12)
        for method, path in routes:
            body = {} if method == "POST" else None
            for headers in ({}, {"Authorization": "Bearer wrong-key-wrong-key"}, {"Authorization": "Bearer "},
                            {"Authorization": KEY}, {"Authorization": "Basic " + KEY}, {"Authorization": "Bearer " + KEY + "x"},
                            {"Authorization": "Bearer " + KEY[:-1]}, {"X-Api-Key": KEY}):
                answer = self.server.request(method, path, body, headers)
                if path == "/health":
                    self.assertEqual(answer.status, 200)
                    continue
                self.assertEqual(answer.status, 401, (method, path, headers, answer.text))
                self.assertEqual(answer.json["error"]["code"], "invalid_api_key")
            if path != "/health":
                answer = self.server.request(method, path, body, BEARER)
                self.assertNotEqual(answer.status, 401, (method, path))

    def test_unknown_paths_tell_nothing_without_a_key(self):
        self.assertEqual(self.server.get("/v1/nothing").status, 401)
        self.assertEqual(self.server.get("/v1/nothing", BEARER).status, 404)
        self.assertEqual(self.server.request("OPTIONS", "/v1/models").status, 401)

    def test_every_key_works(self):
        for key in (KEY, "another-key-of-ours", "key-from-environment", "another-one"):
            self.assertEqual(self.server.get("/v1/models", {"Authorization": "bearer " + key}).status, 200, key)

    def test_browsers_may_send_it_as_a_password(self):
        answer = self.server.get("/")
        self.assertEqual(answer.status, 401)
        self.assertTrue(answer.headers["www-authenticate"].startswith("Basic"))
        basic = base64.b64encode(("me:" + KEY).encode()).decode()
        self.assertEqual(self.server.get("/", {"Authorization": "Basic " + basic}).status, 200)

    def test_body_is_not_read_without_a_key(self):
        with self.server.connect() as connection:
            connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 5000000\r\n\r\n")
            self.assertIn(b" 401 ", connection.recv(100))

    def test_keys_are_never_logged(self):
        self.server.get("/v1/models", BEARER)
        self.server.wait_until(lambda: self.server.access_lines(), "a line")
        with open(self.server.access_log, encoding="utf-8") as file:
            self.assertNotIn(KEY, file.read())

    def test_bad_key_files_are_refused(self):
        for text in ("", "# nothing\n", "short\n"):
            with tempfile.NamedTemporaryFile("w") as file:
                file.write(text)
                file.flush()
                with self.assertRaises(AssertionError):
                    Server(PROGRAM, "--api-key-file", file.name)


class OriginTest(unittest.TestCase):
    def test_hosts(self):
        with Server(PROGRAM, "--allowed-host", "lanner.example") as server:
            for host, status in (("localhost", 200), ("127.0.0.1:8080", 200), ("[::1]:80", 200), ("lanner.example", 200),
                                 ("evil.example", 421), ("localhost.evil.example", 421), ("", 421)):
                self.assertEqual(server.get("/v1/models", {"Host": host}).status, status, host)
            self.assertEqual(server.get("/v1/models", {"Host": None}).status, 400)

    def test_origins_are_closed_by_default(self):
        with Server(PROGRAM) as server:
            self.assertEqual(server.get("/v1/models", {"Origin": "https://evil.example"}).status, 403)
            self.assertEqual(server.get("/v1/models", {"Origin": "null"}).status, 403)
            same = {"Origin": f"http://localhost:{server.port}", "Host": f"localhost:{server.port}"}
            self.assertEqual(server.get("/v1/models", same).status, 200)
            answer = server.request("OPTIONS", "/v1/models", headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"})
            self.assertEqual(answer.status, 403)
            # What a form of another page can send.
            answer = server.request("POST", "/v1/completions", b'{"prompt":"x"}', {"Content-Type": "text/plain"})
            self.assertEqual(answer.status, 415)

    def test_an_allowed_origin(self):
        origin = {"Origin": "https://app.example"}
        with Server(PROGRAM, "--cors-origin", "https://app.example") as server:
            answer = server.request("OPTIONS", "/v1/chat/completions", headers=origin)
            self.assertEqual(answer.status, 204)
            self.assertEqual(answer.headers["access-control-allow-origin"], "https://app.example")
            answer = server.request("POST", "/v1/chat/completions", chat("x", max_tokens=1), origin)
            self.assertEqual(answer.headers["access-control-allow-origin"], "https://app.example")
            self.assertEqual(server.get("/v1/models", {"Origin": "https://other.example"}).status, 403)


if __name__ == "__main__":
    unittest.main()
