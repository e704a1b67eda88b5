# SPDX-License-Identifier: Apache-2.0
"""A server with OpenAI's API beside this process, for notebooks and tests."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping, Sequence

from .default_model import default_model
from .errors import ERRORS, Error, InternalError
from .program import program


class OpenAIServer:
    """A running `lanner serve`; openai_server() starts it."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], timeout: float) -> None:
        # In a session of its own: an interrupt of a notebook's cell does not end it.
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                         env=dict(environment), start_new_session=True)
        self._finalizer = weakref.finalize(self, _stop, self._process)
        self._lines: deque[str] = deque(maxlen=50)
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, name="lanner server log", daemon=True)
        self._reader.start()
        try:
            self.url = self._wait(timeout)
        except BaseException:
            self.stop()
            raise

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._lines.append(line.decode(errors="replace").rstrip())
            if line == b"ready\n":
                self._ready.set()
        self._process.stderr.close()
        self._ready.set()  # it has ended

    def _wait(self, timeout: float) -> str:
        """Until the model is loaded; the address."""
        end = time.monotonic() + timeout
        # In steps: Ctrl-C is not seen inside of a wait on every system.
        while not self._ready.wait(0.2):
            if time.monotonic() > end:
                raise InternalError(f"the server was not ready after {timeout:g} s: {self.log}")
        for line in self._lines:
            if address := re.match(r"listening on (\S+)", line):
                if self._process.poll() is None and "ready" in self._lines:
                    return address[1]
        status = self._process.wait()
        raise _error(status, self.log)

    @property
    def base_url(self) -> str:
        """What clients of OpenAI's API take as base_url."""
        return self.url + "/v1"

    @property
    def log(self) -> str:
        """The last lines that the server has printed."""
        return "\n".join(self._lines)

    def stop(self) -> None:
        """Ends the server; requests under way get a moment to finish."""
        self._finalizer()
        self._reader.join()

    def __enter__(self) -> OpenAIServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"OpenAIServer({self.base_url!r})"


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _error(status: int, log: str) -> Error:
    # The exit status of the program names the error's code: 3 is the first one.
    kinds = list(ERRORS.values())
    kind = kinds[status - 3] if 3 <= status < 3 + len(kinds) else InternalError
    return kind(re.sub(r"(?m)^lanner: error: ", "", log) or f"the server ended with status {status}")


def openai_server(
    model: str | os.PathLike[str] | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    api_key: str | None = None,
    dtype: str = "auto",
    kv_dtype: str = "auto",
    attention: str = "auto",
    threads: int = 0,
    max_context: int = 0,
    max_sequences: int = 64,
    prefix_cache: bool = True,
    ngram_speculation: bool = True,
    lora: Mapping[str, str | os.PathLike[str]] | None = None,
    arguments: Sequence[str] = (),
    timeout: float = 600.0,
) -> OpenAIServer:
    """Starts a server with OpenAI's API as a child process and waits until the model is loaded.

    Args:
        model: As in LLM.
        host, port: Where to listen; port 0: any free one.
        api_key: What clients must send; None: nothing.
        dtype, kv_dtype, attention, threads, max_context, max_sequences, prefix_cache, ngram_speculation, lora: As in LLM;
            clients ask for an adapter as for a model.
        arguments: Further ones of `lanner serve`.
        timeout: Seconds to wait.

    Returns:
        The server: `base_url` for clients, `stop()`; in a `with` it is stopped at the end, and else with this process.

    Raises:
        What LLM raises where the model cannot be loaded.
    """
    command = [program(), "serve", default_model() if model is None else os.fspath(model), "--host", host, "--port", str(port),
               "--dtype", dtype, "--kv-dtype", kv_dtype, "--attention", attention, "--threads", str(threads),
               "--max-context", str(max_context), "--max-sequences", str(max_sequences), "--access-log", "off", "--grace", "5"]
    command += [] if prefix_cache else ["--no-prefix-cache"]
    command += [] if ngram_speculation else ["--no-speculation"]
    for name, folder in (lora or {}).items():
        command += ["--lora", f"{name}={os.fspath(folder)}"]
    environment = {name: value for name, value in os.environ.items() if name != "LANNER_API_KEYS"}
    if api_key is not None:
        environment["LANNER_API_KEYS"] = api_key
    return OpenAIServer([*command, *arguments], environment, timeout)
