# SPDX-License-Identifier: Apache-2.0
"""A server as a process, and raw connections to it. Standard library only."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

# Only a failure reaches it: test machines are stopped for minutes.
PATIENCE = int(os.environ.get("LANNER_TEST_PATIENCE", "120"))


class Server:
    """`PROGRAM serve ...` on a free port; killed at the end of a `with`."""

    def __init__(self, program, *arguments, model="sequences=64,step_us=500", environment=None, ready=True):
        self.log_path = tempfile.NamedTemporaryFile(suffix=".log", delete=False).name
        models = ["--model", "tiny=" + model] if model else []
        self.errors = []
        self.access_log = self.log_path + ".access"
        self.process = subprocess.Popen(
            [program, "serve", "--port", "0", "--access-log", self.access_log, *models, *arguments],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **(environment or {})})
        self.said = threading.Condition()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        try:
            line = self.wait_for("listening on ")
            self.port = int(re.search(r"://.*?:(\d+) ", line).group(1))
            if ready:
                self.wait_for("ready")
        except BaseException:
            self.__exit__()
            raise

    def _read(self):
        for line in self.process.stderr:
            with self.said:
                self.errors.append(line.rstrip("\n"))
                self.said.notify_all()
        with self.said:
            self.errors.append(None)
            self.said.notify_all()

    def wait_for(self, text):
        end = time.monotonic() + PATIENCE
        with self.said:
            while True:
                for line in self.errors:
                    if line is not None and text in line:
                        return line
                if None in self.errors or not self.said.wait(max(0, end - time.monotonic())):
                    raise AssertionError(f"the server never said {text!r}, but {self.errors}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join(PATIENCE)
        self.process.stderr.close()
        for path in (self.log_path, self.access_log):
            if os.path.exists(path):
                os.unlink(path)

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def wait(self):
        return self.process.wait(PATIENCE)

    def alive(self):
        return self.process.poll() is None

    def connect(self):
        connection = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        connection.settimeout(PATIENCE)
        return connection

    def request(self, method, path, body=None, headers=None, raw=None):
        """One request on a connection of its own -> Answer."""
        with self.connect() as connection:
            connection.sendall(raw if raw is not None else make_request(method, path, body, headers))
            return read_answer(connection, head=method == "HEAD")

    def get(self, path, headers=None):
        return self.request("GET", path, headers=headers)

    def post(self, path, body, headers=None):
        return self.request("POST", path, body, headers)

    def metric(self, name, labels=""):
        for line in self.get("/metrics").text.splitlines():
            if line.startswith(f"{name}{labels} "):
                return float(line.split()[-1])
        return 0.0

    def wait_until(self, condition, what):
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                raise AssertionError(f"never happened: {what}")
            time.sleep(0.02)

    def access_lines(self):
        with open(self.access_log, encoding="utf-8") as file:
            return [json.loads(line) for line in file]


class Answer:
    def __init__(self, status, headers, body, chunks):
        self.status, self.headers, self.body, self.chunks = status, headers, body, chunks

    @property
    def text(self):
        return self.body.decode()

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def events(self):
        """The data of an event stream, JSON decoded, without [DONE]."""
        data = [e[6:] for e in self.text.split("\n\n") if e.startswith("data: ")]
        return [json.loads(d) for d in data if d != "[DONE]"]


def make_request(method, path, body=None, headers=None):
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"Host": "localhost", "Connection": "close"}
    if body is not None:
        fields |= {"Content-Type": "application/json", "Content-Length": str(len(data))}
    fields |= headers or {}
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields.items() if v is not None)
    return head.encode() + b"\r\n" + data


def read_exact(file, count):
    data = file.read(count)
    if len(data) != count:
        raise ConnectionError("the answer breaks off")
    return data


def read_answer(connection, head=False):
    file = connection.makefile("rb")
    return read_answer_of_file(file, head)


def read_answer_of_file(file, head=False):
    status_line = file.readline()
    if not status_line:
        raise ConnectionError("no answer")
    status = int(status_line.split()[1])
    headers = {}
    while (line := file.readline().strip()):
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    chunks = []
    if head or status in (204, 304):
        pass
    elif headers.get("transfer-encoding") == "chunked":
        while (size := int(file.readline().strip() or b"z", 16)):
            chunks.append(read_exact(file, size))
            file.readline()
        file.readline()
    elif "content-length" in headers:
        chunks.append(read_exact(file, int(headers["content-length"])))
    else:
        chunks.append(file.read())
    return Answer(status, headers, b"".join(chunks), chunks)


def chat(text, **more):
    return {"messages": [{"role": "user", "content": text}], **more}


def backwards(text, tokens):
    """What a scripted model answers."""
    return ((text[::-1] + " ") * (tokens // (len(text) + 1) + 1))[:tokens]


def program():
    return sys.argv.pop(1)
