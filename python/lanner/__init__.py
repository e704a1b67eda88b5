# SPDX-License-Identifier: Apache-2.0
"""Lanner runs large language models on CPUs.

>>> import lanner
>>> llm = lanner.LLM()  # the default model; or a folder, or a GGUF file
>>> llm.chat("What is 2 + 3?").text
"""

from __future__ import annotations

import json as _json
import os as _os
from typing import Any as _Any

from . import _lanner
from .chat import Conversation, Message, Tool, ToolChoice
from .errors import (
    CancelledError,
    CorruptFileError,
    Error,
    InternalError,
    InvalidArgumentError,
    IoError,
    NotFoundError,
    ResourceExhaustedError,
    UnsupportedError,
)
from .llm import LLM, Prompt
from .outputs import (
    ChatChunk,
    ChatCompletion,
    ChatResult,
    Completion,
    GenerationResult,
    PositionLogprobs,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from .requests import AsyncStream, Stream
from .sampling_params import SamplingParams
from .server import OpenAIServer, openai_server
from .structured_output import StructuredOutput
from .tools import PulledModel, QuantizeReport, plan_distributed, pull, quantize

__version__: str = _lanner.version()

__all__ = [
    "LLM",
    "AsyncStream",
    "CancelledError",
    "ChatChunk",
    "ChatCompletion",
    "ChatResult",
    "Completion",
    "Conversation",
    "CorruptFileError",
    "Error",
    "GenerationResult",
    "InternalError",
    "InvalidArgumentError",
    "IoError",
    "Message",
    "NotFoundError",
    "OpenAIServer",
    "PositionLogprobs",
    "Prompt",
    "PulledModel",
    "QuantizeReport",
    "ResourceExhaustedError",
    "SamplingParams",
    "Stream",
    "StructuredOutput",
    "TokenLogprob",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "ToolChoice",
    "UnsupportedError",
    "Usage",
    "families_report",
    "machine_report",
    "model_report",
    "openai_server",
    "plan_distributed",
    "pull",
    "quantize",
]


def machine_report(**config: _Any) -> dict[str, _Any]:
    """The machine as Lanner sees it: CPU, ISA, topology, threads and why. `config` as in LLM."""
    report: dict[str, _Any] = _json.loads(_lanner.machine_report(config))
    return report


def model_report(model: str | _os.PathLike[str], **config: _Any) -> dict[str, _Any]:
    """The same with a model's configuration, kernels and memory plan, read without loading weights."""
    report: dict[str, _Any] = _json.loads(_lanner.model_report(_os.fspath(model), config))
    return report


def families_report() -> dict[str, _Any]:
    """The families of models that Lanner runs."""
    report: dict[str, _Any] = _json.loads(_lanner.families_report())
    return report
