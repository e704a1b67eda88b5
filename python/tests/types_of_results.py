# SPDX-License-Identifier: Apache-2.0
"""Not run, only looked at by mypy: what the calls give back, by what they get."""

from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import assert_type

import lanner


def generate(llm: lanner.LLM) -> None:
    assert_type(llm.generate("a"), lanner.GenerationResult)
    assert_type(llm.generate([1, 2]), lanner.GenerationResult)
    assert_type(llm.generate(np.array([1, 2])), lanner.GenerationResult)
    assert_type(llm.generate(["a", "b"]), list[lanner.GenerationResult])
    assert_type(llm.generate([[1], [2]], [lanner.SamplingParams(), lanner.SamplingParams(n=2)]), list[lanner.GenerationResult])
    assert_type(llm.generate("a").logprobs[0].top[0].bytes, bytes)
    assert_type(next(llm.stream("a")), lanner.Completion)


def chat(llm: lanner.LLM) -> None:
    assert_type(llm.chat("a"), lanner.ChatResult)
    assert_type(llm.chat([{"role": "user", "content": "a"}]), lanner.ChatResult)
    assert_type(llm.chat([[{"role": "user", "content": "a"}]]), list[lanner.ChatResult])
    assert_type(llm.chat("a").tool_calls[0].parse(), dict[str, Any])
    assert_type(next(llm.stream_chat("a")), lanner.ChatChunk)


async def asynchronous(llm: lanner.LLM) -> None:
    assert_type(await llm.agenerate("a"), lanner.GenerationResult)
    assert_type(await llm.achat(["a", "b"]), list[lanner.ChatResult])
    async for chunk in llm.astream("a"):
        assert_type(chunk, lanner.Completion)


def model(llm: lanner.LLM) -> None:
    assert_type(llm.forward([1, 2]), npt.NDArray[np.float32])
    assert_type(llm.tokenize("a"), list[int])
    assert_type(llm.embed(["a", "b"]), npt.NDArray[np.float32])
    with lanner.openai_server() as server:
        assert_type(server.base_url, str)
