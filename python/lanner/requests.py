# SPDX-License-Identifier: Apache-2.0
"""Waiting for requests: streams, and the same for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from .errors import ResourceExhaustedError

Chunk = TypeVar("Chunk")


async def _until_ready(requests: Any, whole: bool) -> None:
    """Waits in the event loop until requests.wait(whole) would return at once."""
    descriptor = requests.fileno(whole)
    if descriptor < 0:
        raise ResourceExhaustedError("no file descriptor is left for waiting in an event loop")
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def on_ready() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(descriptor, on_ready)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)


def _index(output: Any) -> int:
    """Which of the answers of its request."""
    index: int = getattr(getattr(output, "step", output), "index", 0)
    return index


def _by_request(news: list[tuple[int, Any]], count: int) -> list[list[Any]]:
    """The outputs of each request; those of several answers in the order of their index."""
    outputs: list[list[Any]] = [[] for _ in range(count)]
    for request, output in news:
        outputs[request].append(output)
    for answers in outputs:
        answers.sort(key=_index)
    return outputs


def wait_for_all(requests: Any, count: int) -> list[list[Any]]:
    """The whole outputs of each request. Ctrl-C, and whatever else interrupts, aborts them."""
    try:
        return _by_request(requests.wait(True), count)
    except BaseException:
        requests.abort()
        raise


async def wait_for_all_async(requests: Any, count: int) -> list[list[Any]]:
    """The same in an event loop; cancelling the task aborts the requests."""
    try:
        await _until_ready(requests, True)
        return _by_request(requests.poll(), count)
    except BaseException:
        requests.abort()
        raise


class Stream(Generic[Chunk]):
    """The news of one request, as they come: an iterator. Ctrl-C, close() and leaving a `with` end the request.

    Chunks that nobody has taken yet are merged: a slow reader gets fewer and larger ones.
    """

    def __init__(self, requests: Any, to_chunk: Callable[[Any], Chunk]) -> None:
        self._requests = requests
        self._to_chunk = to_chunk
        self._chunks: list[Chunk] = []

    def __iter__(self) -> Stream[Chunk]:
        return self

    def __next__(self) -> Chunk:
        if not self._chunks:
            if self._requests is None:
                raise StopIteration
            try:
                self._take(self._requests.wait(False))
            except BaseException:
                self.close()
                raise
        if not self._chunks:
            self.close()
            raise StopIteration
        return self._chunks.pop(0)

    def _take(self, news: list[tuple[int, Any]]) -> None:
        self._chunks = [self._to_chunk(output) for _, output in news]

    def close(self) -> None:
        """Ends the request, if it has not ended."""
        if self._requests is not None:
            self._requests.abort()
            self._requests = None

    def __enter__(self) -> Stream[Chunk]:
        return self

    def __exit__(self, *_: object) -> None:
        self._chunks = []
        self.close()


class AsyncStream(Generic[Chunk]):
    """A Stream for `async for`. Cancelling the task that reads it ends the request."""

    def __init__(self, requests: Any, to_chunk: Callable[[Any], Chunk]) -> None:
        self._stream = Stream(requests, to_chunk)

    def __aiter__(self) -> AsyncStream[Chunk]:
        return self

    async def __anext__(self) -> Chunk:
        stream = self._stream
        requests = stream._requests
        if not stream._chunks and requests is not None:
            try:
                await _until_ready(requests, False)
            except BaseException:
                stream.close()
                raise
        try:
            return next(stream)
        except StopIteration:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        """Ends the request, if it has not ended."""
        self._stream.close()

    async def __aenter__(self) -> AsyncStream[Chunk]:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stream.__exit__()
