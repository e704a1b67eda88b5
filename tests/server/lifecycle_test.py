# SPDX-License-Identifier: Apache-2.0
"""lifecycle_test.py PROGRAM: queues, disconnects, slow readers, keep-alive, TLS, loading, draining, signals."""

import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import unittest

from harness import PATIENCE, Server, backwards, chat, make_request, program, read_answer

PROGRAM = program()
LONG = dict(max_tokens=1000000, ignore_eos=True)


def running(server):
    return server.metric("lanner_requests_running", '{model="tiny"}')


def waiting(server):
    return server.metric("lanner_requests_waiting", '{model="tiny"}')


class LifecycleTest(unittest.TestCase):
    def start_stream(self, server, text="abc", **more):
        connection = server.connect()
        connection.sendall(make_request("POST", "/v1/chat/completions", chat(text, stream=True, **(LONG | more))))
        return connection

    def test_disconnect_frees_the_slot_in_every_phase(self):
        with Server(PROGRAM, "--max-sequences", "1") as server:
            first = self.start_stream(server)
            first.recv(10)
            server.wait_until(lambda: running(server) == 1, "one running")
            queued = self.start_stream(server)
            server.wait_until(lambda: waiting(server) == 1, "one waiting")
            queued.close()
            server.wait_until(lambda: waiting(server) == 0, "the queue is empty")
            next_one = self.start_stream(server, max_tokens=3)
            server.wait_until(lambda: waiting(server) == 1, "one waiting again")
            first.close()
            self.assertTrue(read_answer(next_one).text.endswith("[DONE]\n\n"))
            next_one.close()
            slow = self.start_stream(server, "SLOW")
            server.wait_until(lambda: running(server) == 1, "one in its prefill")
            slow.close()
            server.wait_until(lambda: running(server) == 0, "an idle model")
            # Not a stream: nothing has been sent when its client leaves.
            whole = server.connect()
            whole.sendall(make_request("POST", "/v1/chat/completions", chat("abc", **LONG)))
            server.wait_until(lambda: running(server) == 1, "one running")
            whole.close()
            server.wait_until(lambda: running(server) == 0, "an idle model")

    def test_full_queue_and_busy_client(self):
        limits = ("--limit", "queue_length=1", "--limit", "requests_per_key=2", "--max-sequences", "1")
        with Server(PROGRAM, *limits) as server:
            with self.start_stream(server), self.start_stream(server):
                server.wait_until(lambda: waiting(server) == 1 and running(server) == 1, "one running, one waiting")
                answer = server.post("/v1/chat/completions", chat("x", stream=True))
                self.assertEqual((answer.status, answer.json["error"]["code"]), (429, "limit_requests_per_key"))
                self.assertEqual(answer.headers["retry-after"], "1")
            server.wait_until(lambda: running(server) == 0, "an idle model")
        with Server(PROGRAM, "--limit", "queue_length=0", "--max-sequences", "1") as server:
            with self.start_stream(server):
                server.wait_until(lambda: running(server) == 1, "one running")
                answer = server.post("/v1/chat/completions", chat("x", stream=True))
                self.assertEqual((answer.status, answer.json["error"]["code"]), (503, "limit_queue_length"))
                self.assertEqual(server.metric("lanner_limit_rejections_total", '{limit="queue_length"}'), 1)

    def test_queue_timeout_is_a_status(self):
        with Server(PROGRAM, "--limit", "queue_timeout=1", "--max-sequences", "1") as server:
            with self.start_stream(server):
                server.wait_until(lambda: running(server) == 1, "one running")
                answer = server.post("/v1/chat/completions", chat("x", stream=True))
                self.assertEqual((answer.status, answer.json["error"]["code"]), (503, "limit_queue_timeout"))

    def test_slow_reader_harms_nobody(self):
        with Server(PROGRAM, "--limit", "write_buffer_bytes=65536", model="step_us=0,sequences=8") as server:
            slow = socket.socket()
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.settimeout(PATIENCE)
            slow.connect(("127.0.0.1", server.port))
            slow.sendall(make_request("POST", "/v1/chat/completions", chat("abc", stream=True, **LONG)))
            answers = 0
            while server.metric("lanner_slow_readers_total") == 0:
                answer = server.post("/v1/chat/completions", chat("hello", max_tokens=6))
                self.assertEqual(answer.json["choices"][0]["message"]["content"], "olleh ")
                answers += 1
            self.assertGreater(answers, 0)
            server.wait_until(lambda: running(server) == 0, "the slow reader's request has ended")
            self.assertEqual(server.metric("lanner_http_write_buffer_bytes"), 0)
            slow.close()

    def test_keep_alive_comments(self):
        with Server(PROGRAM, "--keep-alive", "1") as server:
            answer = server.post("/v1/chat/completions", chat("SLOW", max_tokens=3, stream=True))
            self.assertTrue(answer.text.startswith(": keep-alive\n\n"), answer.text[:80])
            self.assertTrue(answer.text.endswith("[DONE]\n\n"))

    def test_connection_limit(self):
        with Server(PROGRAM, "--limit", "connections=3") as server:
            idle = [server.connect() for _ in range(3)]
            server.wait_until(lambda: server_says_503(server), "a 503")
            for connection in idle:
                connection.close()
            server.wait_until(lambda: not server_says_503(server), "room again")

    def test_streams_do_not_mix(self):
        with Server(PROGRAM, model="step_us=200,sequences=64") as server:
            results = {}

            def ask(text):
                events = server.post("/v1/chat/completions", chat(text, max_tokens=50, stream=True)).events
                results[text] = "".join(e["choices"][0]["delta"].get("content", "") for e in events)

            texts = [f"text number {i}" for i in range(40)]
            threads = [threading.Thread(target=ask, args=(text,)) for text in texts]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(PATIENCE)
            self.assertEqual(results, {text: backwards(text, 50) for text in texts})

    def test_loading(self):
        with Server(PROGRAM, model="load_ms=3000", ready=False) as server:
            answer = server.get("/health")
            self.assertEqual((answer.status, answer.json["status"]), (503, "loading"))
            self.assertEqual(server.post("/v1/completions", {"prompt": "x"}).status, 503)
            server.wait_for("ready")
            self.assertEqual(server.get("/health").status, 200)

    def test_model_that_does_not_load(self):
        with Server(PROGRAM, model="load_error=broken file", ready=False) as server:
            self.assertNotEqual(server.wait(), 0)
            server.wait_for("broken file")

    def test_drain_finishes_what_runs(self):
        with Server(PROGRAM, model="step_us=20000") as server:
            connection = self.start_stream(server, max_tokens=60)
            connection.recv(1)
            server.terminate()
            server.wait_until(lambda: server.get("/health").status == 503, "draining")
            self.assertEqual(server.get("/health").json["status"], "draining")
            self.assertEqual(server.post("/v1/completions", {"prompt": "x"}).status, 503)
            rest = b""
            while piece := connection.recv(65536):
                rest += piece
            self.assertIn(b"[DONE]", rest)
            self.assertEqual(server.wait(), 0)

    def test_drain_ends_what_takes_too_long(self):
        with Server(PROGRAM, "--grace", "1", model="step_us=20000") as server:
            connection = self.start_stream(server)
            connection.recv(1)
            server.terminate()
            rest = b""
            while piece := connection.recv(65536):
                rest += piece
            self.assertIn(b"the server is stopping", rest)
            self.assertEqual(server.wait(), 0)

    def test_idle_server_ends_at_once(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with Server(PROGRAM) as server:
                begin = time.monotonic()
                server.process.send_signal(number)
                self.assertEqual(server.wait(), 0)
                self.assertLess(time.monotonic() - begin, 30)

    def test_second_signal_ends_at_once(self):
        with Server(PROGRAM, "--grace", "1000") as server:
            with self.start_stream(server) as connection:
                connection.recv(1)
                server.terminate()
                server.wait_for("finishing the requests")
                server.terminate()
                self.assertEqual(server.wait(), -signal.SIGTERM)

    def test_service_manager(self):
        folder = tempfile.mkdtemp()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(folder + "/notify")
            manager.settimeout(PATIENCE)
            with Server(PROGRAM, environment={"NOTIFY_SOCKET": folder + "/notify"}) as server:
                heard = ""
                while "READY=1" not in heard or "WATCHDOG=1" not in heard:
                    heard += manager.recv(1000).decode() + "\n"
                server.terminate()
                while "STOPPING=1" not in heard:
                    heard += manager.recv(1000).decode() + "\n"
                self.assertEqual(server.wait(), 0)
        shutil.rmtree(folder)

    def test_port_in_use(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            result = subprocess.run([PROGRAM, "serve", "--model", "a=b", "--port", str(taken.getsockname()[1])],
                                    capture_output=True, text=True, timeout=PATIENCE, check=False)
            self.assertNotEqual(result.returncode, 0)
            self.assertIn("cannot listen", result.stderr)

    def test_command_line_errors(self):
        for arguments, text in ((["--model", "x"], "NAME=PATH"), (["--model", "a=b", "--model", "a=c"], "two models are named 'a'"),
                                (["--model", "a=b", "--limit", "nothing=1"], "limit 'nothing' is unknown"),
                                (["--model", "a=b", "--limit", "n=0"], "limit n"), (["--model", "a=b", "--tls-cert", "x"], "TLS needs both"),
                                (["--model", "a=b", "--tls-cert", "none.pem", "--tls-key", "none.pem"], "none.pem")):
            result = subprocess.run([PROGRAM, "serve", "--port", "0", *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False)
            self.assertNotEqual(result.returncode, 0, arguments)
            self.assertIn(text, result.stderr)

    @unittest.skipUnless(shutil.which("openssl"), "needs the openssl program to make a certificate")
    def test_tls(self):
        folder = tempfile.mkdtemp()
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", folder + "/key.pem",
                        "-out", folder + "/cert.pem"], check=True, capture_output=True, timeout=PATIENCE)
        context = ssl.create_default_context(cafile=folder + "/cert.pem")
        with Server(PROGRAM, "--tls-cert", folder + "/cert.pem", "--tls-key", folder + "/key.pem", "--limit", "header_timeout=3") as server:
            for _ in range(3):
                with context.wrap_socket(server.connect(), server_hostname="localhost") as connection:
                    connection.sendall(make_request("POST", "/v1/chat/completions", chat("hello", max_tokens=5, stream=True)))
                    self.assertTrue(read_answer(connection).text.endswith("[DONE]\n\n"))
            with server.connect() as connection:  # plain text is no handshake
                connection.sendall(make_request("GET", "/health"))
                self.assertNotIn(b"200", connection.recv(100))
            with server.connect() as connection:  # a handshake that does not begin
                self.assertEqual(connection.recv(100), b"")
            with context.wrap_socket(server.connect(), server_hostname="localhost") as connection:
                connection.sendall(make_request("POST", "/v1/chat/completions", chat("x", stream=True, **LONG)))
                connection.recv(10)
            server.terminate()
            self.assertEqual(server.wait(), 0)
        shutil.rmtree(folder)

    def test_idle_costs_nothing(self):
        with Server(PROGRAM) as server:
            keep = server.connect()
            before = cpu_seconds(server.process.pid)
            time.sleep(2)
            self.assertLess(cpu_seconds(server.process.pid) - before, 0.2)
            keep.close()


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def server_says_503(server):
    try:
        return server.get("/health").status == 503
    except ConnectionError:
        return True


if __name__ == "__main__":
    unittest.main()
