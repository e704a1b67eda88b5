#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`lanner pull` against a hub on the loopback: whole models, every fault, and nothing outside the cache.

Usage: hub_test.py PROGRAM
"""
import hashlib
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import ssl
import subprocess
import threading
import time
import urllib.parse

import lanner
from lanner import TestCase, run

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PART = 8 << 20


def git_sha1(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Hub:
    """What the hub has, what it is to do wrong, and what it was asked."""

    def __init__(self, files, model="owner/name"):
        self.files, self.model = dict(files), model
        self.lfs = {name for name in files if name.endswith((".safetensors", ".gguf"))}
        self.listed = {}  # path -> other fields of its entry
        self.extra = []  # further entries
        self.token = None
        self.ranges = True
        self.cut_after = {}  # path -> [bytes of the next answers]
        self.answers = []  # (regular expression, status, headers, times)
        self.page_size = 1000
        self.delay = 0
        self.requests = []
        self.lock = threading.Lock()
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                hub.handle(self)

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass  # clients that go away

        self.server = Server(("127.0.0.1", 0), Handler)
        self.scheme = "http"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def use_tls(self, certificate, key):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.scheme = "https"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.server.server_address[1]}"

    def fail(self, pattern, status, times=1000, **headers):
        self.answers.append([re.compile(pattern), status, headers, times])

    def asked(self, part):
        return [request for request in self.requests if part in request[0]]

    def send(self, handler, status, body=b"", **headers):
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(body)
        handler.close_connection = True

    def entry(self, path):
        data = self.files[path]
        entry = {"type": "file", "path": path, "size": len(data), "oid": git_sha1(data)}
        if path in self.lfs:
            entry["oid"] = git_sha1(b"a pointer")
            entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
        entry.update(self.listed.get(path, {}))
        return entry

    def handle(self, handler):
        path = urllib.parse.unquote(handler.path)
        with self.lock:
            self.requests.append((path, dict(handler.headers)))
            for answer in self.answers:
                if answer[0].search(path) and answer[3] > 0:
                    answer[3] -= 1
                    return self.send(handler, answer[1], b"{}", **answer[2])
        if self.token and handler.headers.get("Authorization") != f"Bearer {self.token}":
            return self.send(handler, 401)
        if path == f"/api/models/{self.model}/revision/main":
            return self.send(handler, 200, json.dumps({"sha": COMMIT, "id": self.model}).encode())
        if path.startswith(f"/api/models/{self.model}/tree/{COMMIT}"):
            entries = [self.entry(name) for name in self.files] + self.extra + [{"type": "directory", "path": "x"}]
            first = int(dict(urllib.parse.parse_qsl(path.partition("?")[2])).get("cursor", 0))
            more = {}
            if first + self.page_size < len(entries):
                after = f"{self.url}/api/models/{self.model}/tree/{COMMIT}?recursive=true&cursor={first + self.page_size}"
                more = {"Link": f'<{after}>; rel="next"'}
            return self.send(handler, 200, json.dumps(entries[first : first + self.page_size]).encode(), **more)
        for front in (f"/{self.model}/resolve/{COMMIT}/", "/cdn/"):
            name = path[len(front) :]
            if path.startswith(front) and name in self.files:
                return self.send_file(handler, name)
        self.send(handler, 404)

    def send_file(self, handler, name):
        data = self.files[name]
        begin, end, status, headers = 0, len(data), 200, {}
        wanted = handler.headers.get("Range")
        if wanted and self.ranges:
            first, last = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted).groups()
            begin, end, status = int(first), min(int(last) + 1, len(data)), 206
            if begin >= len(data):
                return self.send(handler, 416)
            headers = {"Content-Range": f"bytes {begin}-{end - 1}/{len(data)}"}
        body = data[begin:end]
        handler.send_response(status)
        for key, value in headers.items():
            handler.send_header(key, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.close_connection = True
        with self.lock:
            cuts = self.cut_after.get(name, [])
            cut = cuts.pop(0) if cuts and len(body) > 1 else None
        if cut is not None:
            body = body[:cut]
        for at in range(0, len(body), 1 << 16):
            handler.wfile.write(body[at : at + (1 << 16)])
            if self.delay:
                time.sleep(self.delay)


def tiny_model():
    folder = lanner.GOLDEN / "llama-mha"
    return {name: (folder / name).read_bytes() for name in ("config.json", "model.safetensors")}


class HubTest(TestCase):
    def setUp(self):
        super().setUp()
        self.cache = self.folder / "cache"

    def pull(self, hub, *options, **environment):
        return run("pull", "owner/name", *options,
                   **{"LANNER_HUB_URL": hub.url, "LANNER_HUB_CACHE": str(self.cache), "HF_TOKEN": "",
                      "HF_HUB_OFFLINE": "", **environment})

    def model_folder(self):
        return self.cache / "models--owner--name"

    def assert_pulled(self, hub, result):
        self.assertEqual(result.status, 0, result)
        snapshot = pathlib.Path(result.out.strip())
        self.assertEqual(snapshot, self.model_folder() / "snapshots" / COMMIT)
        for name in ("config.json", "model.safetensors"):
            self.assertTrue((snapshot / name).is_symlink())
            self.assertEqual((snapshot / name).read_bytes(), hub.files[name])
        self.assertEqual((self.model_folder() / "refs" / "main").read_text(), COMMIT)
        self.assertEqual(sorted(p.name for p in (self.model_folder() / "blobs").iterdir() if "lanner" in p.name), [])

    def assert_nothing_pulled(self):
        self.assertFalse((self.model_folder() / "refs" / "main").exists())
        self.assertEqual([p for p in self.folder.iterdir() if p != self.cache], [])

    def test_a_model_comes_and_runs_by_its_name(self):
        files = {**tiny_model(), "README.md": b"x", "original/model.pth": b"x", "pytorch_model.bin": b"x",
                 "tokenizer_config.json": b"{}"}
        with Hub(files) as hub:
            self.assert_pulled(hub, self.pull(hub))
            names = {p.name for p in (self.model_folder() / "snapshots" / COMMIT).iterdir()}
            self.assertEqual(names, {"config.json", "model.safetensors", "tokenizer_config.json"})
            logits = self.folder / "logits.safetensors"
            self.assert_runs("run", "owner/name", "--tokens", "1,2,3", "--logits-out", logits, "--dtype", "fp32",
                             LANNER_HUB_CACHE=str(self.cache))
            self.assertTrue(logits.exists())
            # Nothing is fetched twice.
            before = len(hub.asked("/resolve/"))
            report = json.loads(self.pull(hub, "--json").out)
            self.assertEqual((report["downloaded"], report["commit"]), (0, COMMIT))
            self.assertEqual(len(hub.asked("/resolve/")), before)
        # Offline, what is there is found; what is not is said.
        self.assertEqual(self.pull(hub, "--offline").status, 0)
        self.assertEqual(self.pull(hub, HF_HUB_OFFLINE="1").status, 0)
        shutil.rmtree(self.cache)
        self.assert_refused(self.pull(hub, "--offline"), "not in the cache", "offline without a cache")
        self.assert_refused(run("run", "owner/name", "hi", LANNER_HUB_CACHE=str(self.cache)), "owner/name", "no model")

    def test_a_listing_in_pages(self):
        with Hub(tiny_model()) as hub:
            hub.page_size = 1
            self.assert_pulled(hub, self.pull(hub))

    def test_large_files_come_in_parts(self):
        data = os.urandom(PART * 2 + 12345)
        with Hub({"m.gguf": data, "other.gguf": b"x"}) as hub:
            self.assert_refused(self.pull(hub), "--include", "two files to choose from")
            result = self.pull(hub, "--include", "m*.gguf")
            self.assertEqual(result.status, 0, result)
            self.assertEqual(pathlib.Path(result.out.strip()).read_bytes(), data)
            ranges = [headers.get("Range") for _, headers in hub.asked("m.gguf")]
            self.assertEqual(sorted(ranges), sorted(["bytes=0-0", f"bytes=0-{PART - 1}", f"bytes={PART}-{2 * PART - 1}",
                                                     f"bytes={2 * PART}-{len(data) - 1}"]))

    def test_connections_that_break_are_gone_on_with(self):
        data = os.urandom(PART + 5000)
        for ranges in (True, False):
            with self.subTest(ranges=ranges), Hub({"m.gguf": data}) as hub:
                shutil.rmtree(self.cache, ignore_errors=True)
                hub.ranges = ranges
                hub.cut_after["m.gguf"] = [100_000, 200_000]
                result = self.pull(hub, "--connections", "1")
                self.assertEqual(result.status, 0, result)
                self.assertEqual(pathlib.Path(result.out.strip()).read_bytes(), data)
                if ranges:
                    asked = [headers.get("Range") for _, headers in hub.asked("m.gguf")]
                    self.assertIn(f"bytes=100000-{PART - 1}", asked)

    def test_an_interrupted_pull_goes_on_where_it_was(self):
        data = os.urandom(PART * 3)
        with Hub({"m.gguf": data}) as hub:
            hub.delay = 0.004
            process = subprocess.Popen([*lanner.COMMAND, "pull", "owner/name", "--connections", "1"],
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                       env={**os.environ, "LANNER_HUB_URL": hub.url, "LANNER_HUB_CACHE": str(self.cache),
                                            "HF_TOKEN": ""})
            parts = self.model_folder() / "blobs" / (hashlib.sha256(data).hexdigest() + ".lanner-parts")
            for _ in range(3000):
                if parts.exists() and "+" in parts.read_text():
                    break
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
            self.assertEqual(process.returncode, 130, err)
            self.assertIn("goes on from here", err)
            self.assert_nothing_pulled()
            done = parts.read_text().splitlines()[1].count("+")
            self.assertIn(done, (1, 2))
            hub.delay = 0
            before = len(hub.asked("m.gguf"))
            result = self.pull(hub)
            self.assertEqual(pathlib.Path(result.out.strip()).read_bytes(), data)
            again = [headers.get("Range") for _, headers in hub.asked("m.gguf")[before:]]
            self.assertEqual(len(again), 1 + 3 - done)  # the question for ranges, and what was missing
            self.assertNotIn(f"bytes=0-{PART - 1}", again)

    def test_wrong_checksums_are_thrown_away(self):
        for name, entry in {"model.safetensors": {"lfs": {"oid": "0" * 64, "size": 0}}, "config.json": {"oid": "0" * 40}}.items():
            with self.subTest(name=name), Hub(tiny_model()) as hub:
                shutil.rmtree(self.cache, ignore_errors=True)
                if "lfs" in entry:
                    entry["lfs"]["size"] = len(hub.files[name])
                hub.listed[name] = entry
                result = self.pull(hub)
                self.assertEqual(result.status, 6, result)
                self.assertIn(name, result.err)
                self.assert_nothing_pulled()
                self.assertEqual([p.name for p in (self.model_folder() / "blobs").iterdir() if p.name.startswith("0" * 40)], [])

    def test_answers_that_refuse(self):
        cases = [("/revision/", 401, 8, "token"), ("/revision/", 403, 8, "token"), ("/revision/", 404, 4, "owner/name"),
                 ("/tree/", 404, 4, "owner/name"), ("config.json", 403, 8, "config.json"), ("model.safetensors", 404, 4, "model.safetensors"),
                 ("model.safetensors", 416, 6, "model.safetensors"), ("/tree/", 400, 8, "400")]
        for pattern, status, expected, word in cases:
            with self.subTest(pattern=pattern, status=status), Hub(tiny_model()) as hub:
                shutil.rmtree(self.cache, ignore_errors=True)
                hub.fail(pattern, status)
                result = self.pull(hub)
                self.assertEqual(result.status, expected, result)
                self.assert_refused(result, word, str(status))
                self.assertLessEqual(len(hub.asked(pattern)), 2)  # it is no use to ask again
                self.assert_nothing_pulled()

    def test_answers_that_say_later(self):
        with Hub(tiny_model()) as hub:
            hub.fail("/revision/", 429, times=1, Retry_After="1")
            hub.fail("/tree/", 503, times=2)
            hub.fail("config.json", 500, times=1)
            result = self.pull(hub)
            self.assert_pulled(hub, result)
            self.assertGreater(result.seconds, 1.0)
        with Hub(tiny_model()) as hub:
            hub.fail("config.json", 429)
            shutil.rmtree(self.cache)
            self.assert_refused(self.pull(hub), "429", "a hub that always says later")

    def test_redirections(self):
        with Hub(tiny_model()) as hub, Hub(tiny_model()) as cdn:
            hub.token = "secret"
            hub.fail("/resolve/.*/model.safetensors", 302, Location=f"{cdn.url}/cdn/model.safetensors")
            hub.fail("/resolve/.*/config.json", 307, times=1, Location=f"/owner/name/resolve/{COMMIT}/config.json")
            self.assert_pulled(hub, self.pull(hub, LANNER_HUB_TOKEN="secret"))
            self.assertTrue(cdn.requests)
            for _, headers in cdn.requests:
                self.assertNotIn("Authorization", headers)  # the token is the hub's alone
        with Hub(tiny_model()) as hub:
            shutil.rmtree(self.cache)
            hub.fail("/resolve/", 302, Location=f"{hub.url}/owner/name/resolve/{COMMIT}/config.json")
            self.assert_refused(self.pull(hub), "without end", "a circle")
            self.assertLess(len(hub.requests), 30)

    def test_listings_that_make_no_sense(self):
        fine = {"type": "file", "size": 1, "oid": "0" * 40}
        cases = [({**fine, "path": "../../../escaped.json"}, "escaped"), ({**fine, "path": "/etc/lanner.json"}, "lanner"),
                 ({**fine, "path": "a/../../x.json"}, ".."), ({**fine, "path": "a\\b.json"}, "no path"),
                 ({**fine, "path": ""}, "no path"), ({**fine, "path": "x.json", "oid": "../../x"}, "checksum"),
                 ({**fine, "path": "x.json", "oid": 5}, "checksum"), ({**fine, "path": "x.json", "size": -1}, "size"),
                 ({**fine, "path": "x.json", "size": 1e300}, "size"), ({**fine, "path": 7}, "path"), (7, "path"), ([], "path")]
        for entry, word in cases:
            with self.subTest(entry=entry), Hub(tiny_model()) as hub:
                hub.extra = [entry]
                result = self.pull(hub)
                self.assert_refused(result, word, str(entry))
                self.assertEqual(result.status, 6)
                self.assertEqual(list(self.folder.iterdir()), [])
        for body in (b"", b"{}", b"[1", b'"x"', b'{"sha": "../x"}', b"[" * 100000):
            with self.subTest(body=body[:20]), Hub(tiny_model()) as hub:
                hub.handle = lambda handler, hub=hub, body=body: hub.send(handler, 200, body)
                self.assert_refused(self.pull(hub), "owner/name", str(body[:20]))

    def test_names_and_options_are_checked(self):
        with Hub(tiny_model()) as hub:
            for name in ("..", "../x", "a/..", "a/b/c", "owner/na me", "/etc", "owner/"):
                result = run("pull", name, LANNER_HUB_URL=hub.url, LANNER_HUB_CACHE=str(self.cache))
                self.assert_refused(result, "OWNER/NAME", name)
            self.assert_refused(self.pull(hub, "--revision", "../x"), "branch", "a revision")
            self.assert_refused(self.pull(hub, "--include", "*.nothing"), "*.nothing", "no such file")
            self.assert_refused(self.pull(hub, "--mirror", "ftp://x"), "ftp", "a URL")
            self.assert_refused(self.pull(hub, "--token-file", self.folder / "none"), "none", "no token file")
            self.assertEqual(hub.asked("/resolve/"), [])
            token = self.folder / "token"
            token.write_text("secret\n")
            hub.token = "secret"
            self.assertEqual(self.pull(hub, "--token-file", token).status, 0)
            # The token is no argument that others could see, and no message has it.
            self.assertNotIn("secret", self.pull(hub, "--token-file", token, "--revision", "none").err)
        self.assert_refused(self.pull(hub, "--mirror", "http://example.invalid", LANNER_HUB_TOKEN="secret"), "encryption", "no TLS")

    def test_a_hub_that_is_not_there(self):
        with Hub(tiny_model()) as hub:
            pass
        self.assert_refused(self.pull(hub), "127.0.0.1", "nobody listens")
        self.assert_nothing_pulled()

    def test_certificates_are_checked(self):
        key, certificate = self.folder / "key.pem", self.folder / "certificate.pem"
        made = subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate,
                               "-days", "2", "-subj", "/CN=hub", "-addext", "subjectAltName=IP:127.0.0.1"],
                              capture_output=True, check=False)
        if made.returncode != 0:
            self.skipTest("openssl makes no certificate here")
        with Hub(tiny_model()) as hub:
            hub.use_tls(certificate, key)
            result = self.pull(hub, SSL_CERT_FILE="/dev/null", SSL_CERT_DIR="/dev/null")
            self.assert_refused(result, "not trusted", "an unknown authority")
            result = self.pull(hub, SSL_CERT_FILE=str(certificate))
            self.assertEqual(result.status, 0, result)
            # Another name than the certificate's.
            other = hub.url.replace("127.0.0.1", "localhost")
            result = self.pull(hub, "--mirror", other, SSL_CERT_FILE=str(certificate))
            self.assert_refused(result, "not trusted", "another host's certificate")

    def test_the_cache_is_shared(self):
        """What another program has put there in this layout is used, and links of folders deep point right."""
        files = {**tiny_model(), "a/b/deep.json": b"{}"}
        with Hub(files) as hub:
            blobs = self.model_folder() / "blobs"
            blobs.mkdir(parents=True)
            (blobs / hashlib.sha256(files["model.safetensors"]).hexdigest()).write_bytes(files["model.safetensors"])
            self.assertEqual(self.pull(hub, "--include", "*").status, 0)
            self.assertEqual(hub.asked("model.safetensors"), [])
            deep = self.model_folder() / "snapshots" / COMMIT / "a/b/deep.json"
            self.assertEqual(deep.read_bytes(), b"{}")
            self.assertFalse(os.path.isabs(os.readlink(deep)))


if __name__ == "__main__":
    lanner.main()
