# SPDX-License-Identifier: Apache-2.0
"""What generate, chat and stream give back."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from . import _lanner
from .errors import InternalError
from .structured_output import StructuredOutput


@dataclass(frozen=True)
class TokenLogprob:
    """A token and the natural logarithm of its probability."""

    token_id: int
    logprob: float
    bytes: bytes  # its text; a part of a character where a token is one


@dataclass(frozen=True)
class PositionLogprobs:
    """The token at a place, and the likeliest ones there, the best first."""

    token: TokenLogprob
    top: list[TokenLogprob]

    @property
    def logprob(self) -> float:
        """Of the token that is there."""
        return self.token.logprob


@dataclass
class Completion:
    """One answer."""

    index: int = 0  # which of the n answers
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    # "stop", "length", "tool_calls" or "aborted"; "" while more is to come
    finish_reason: str = ""
    # One per token, if SamplingParams.logprobs asks for them.
    logprobs: list[PositionLogprobs] = field(default_factory=list)


@dataclass
class ToolCall:
    """A call of a function that the model has made."""

    id: str = ""
    name: str = ""
    arguments: str = ""  # JSON text of an object, as the model wrote it

    def parse(self) -> dict[str, Any]:
        """The arguments. Raises ValueError where the model wrote no JSON object."""
        arguments = json.loads(self.arguments or "{}")
        if not isinstance(arguments, dict):
            raise ValueError(f"the arguments are no object: {self.arguments}")
        return arguments


@dataclass
class ToolCallDelta(ToolCall):
    """A piece of a call: id and name come once, with the first piece of an index; the arguments add up."""

    index: int = 0


@dataclass
class ChatCompletion(Completion):
    """One answer of a chat. `text` is the raw one, with all the markup of the model."""

    content: str = ""
    reasoning: str = ""
    tool_calls: list[ToolCall] = field(default_factory=list)

    @property
    def message(self) -> dict[str, Any]:
        """The answer as a message, to be appended to the conversation."""
        message: dict[str, Any] = {"role": "assistant", "content": self.content}
        if self.reasoning:
            message["reasoning_content"] = self.reasoning
        if self.tool_calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in self.tool_calls
            ]
        return message


@dataclass
class Usage:
    """Counts of a request's tokens."""

    prompt_tokens: int = 0  # of the whole prompt, without truncated ones
    truncated_tokens: int = 0  # left out of the prompt
    cached_tokens: int = 0  # of the prompt, taken from the prefix cache


@dataclass
class GenerationResult:
    """The answers to one prompt. The properties are those of the first, which is the only one unless n says otherwise."""

    completions: list[Completion]
    usage: Usage = field(default_factory=Usage)
    # One per token of the prompt, if SamplingParams.prompt_logprobs asks for them. The first has logprob 0 and no top.
    prompt_logprobs: list[PositionLogprobs] = field(default_factory=list)
    form: StructuredOutput | None = None

    @property
    def text(self) -> str:
        return self.completions[0].text

    @property
    def token_ids(self) -> list[int]:
        return self.completions[0].token_ids

    @property
    def logprobs(self) -> list[PositionLogprobs]:
        return self.completions[0].logprobs

    @property
    def finish_reason(self) -> str:
        return self.completions[0].finish_reason

    @property
    def parsed(self) -> Any:
        """The text read by SamplingParams.structured: a Pydantic instance, or JSON's value.

        Raises ValueError where there is no form, or the answer was cut off.
        """
        return parse(self.form, self.text)


@dataclass
class ChatResult:
    """The answers to one conversation. The properties are those of the first."""

    completions: list[ChatCompletion]
    usage: Usage = field(default_factory=Usage)
    prompt_logprobs: list[PositionLogprobs] = field(default_factory=list)
    form: StructuredOutput | None = None

    @property
    def text(self) -> str:
        """What the user sees: the content, without reasoning and tool calls."""
        return self.completions[0].content

    @property
    def reasoning(self) -> str:
        return self.completions[0].reasoning

    @property
    def tool_calls(self) -> list[ToolCall]:
        return self.completions[0].tool_calls

    @property
    def message(self) -> dict[str, Any]:
        return self.completions[0].message

    @property
    def token_ids(self) -> list[int]:
        return self.completions[0].token_ids

    @property
    def logprobs(self) -> list[PositionLogprobs]:
        return self.completions[0].logprobs

    @property
    def finish_reason(self) -> str:
        return self.completions[0].finish_reason

    @property
    def parsed(self) -> Any:
        """The content read by SamplingParams.structured, as in GenerationResult."""
        return parse(self.form, self.text)


@dataclass
class ChatChunk(Completion):
    """News of one answer of a chat; everything adds up. `text` is the raw text."""

    content: str = ""
    reasoning: str = ""
    tool_calls: list[ToolCallDelta] = field(default_factory=list)


def parse(form: StructuredOutput | None, text: str) -> Any:
    """The text as the form reads it."""
    if form is None:
        raise ValueError("SamplingParams.structured was not given")
    return form.parse(text)


def _logprob(token: _lanner.TokenLogprob) -> TokenLogprob:
    return TokenLogprob(token.id, token.logprob, token.bytes)


def _logprobs(positions: Any) -> list[PositionLogprobs]:
    return [PositionLogprobs(_logprob(position.token), [_logprob(token) for token in position.top]) for position in positions]


def check(output: _lanner.RequestOutput) -> None:
    """Raises what a request has failed of."""
    if output.finish_reason == "error":
        raise InternalError(output.error)


def to_completion(output: _lanner.RequestOutput) -> Completion:
    """News of a sequence, or the whole of it."""
    check(output)
    return Completion(output.index, output.text, output.token_ids, output.finish_reason, _logprobs(output.logprobs))


def to_chat_chunk(output: _lanner.ChatOutput) -> ChatChunk:
    """News of an answer."""
    step = to_completion(output.step)
    calls = [ToolCallDelta(call.id, call.name, call.arguments, call.index) for call in output.tool_calls]
    return ChatChunk(**vars(step), content=output.content, reasoning=output.reasoning, tool_calls=calls)


def to_chat_completion(output: _lanner.ChatOutput) -> ChatCompletion:
    """The whole of an answer."""
    step = to_completion(output.step)
    calls: dict[int, ToolCall] = {}
    for delta in output.tool_calls:
        call = calls.setdefault(delta.index, ToolCall())
        call.id += delta.id
        call.name += delta.name
        call.arguments += delta.arguments
    return ChatCompletion(**vars(step), content=output.content, reasoning=output.reasoning,
                          tool_calls=[calls[index] for index in sorted(calls)])


def _usage(output: _lanner.RequestOutput) -> Usage:
    return Usage(output.prompt_tokens, output.truncated_tokens, output.cached_tokens)


def to_generation_result(outputs: list[_lanner.RequestOutput], form: StructuredOutput | None) -> GenerationResult:
    """The whole of a request: its answers, in order."""
    return GenerationResult([to_completion(output) for output in outputs], _usage(outputs[0]),
                            _logprobs(outputs[0].prompt_logprobs), form)


def to_chat_result(outputs: list[_lanner.ChatOutput], form: StructuredOutput | None) -> ChatResult:
    """The whole of a chat: its answers, in order."""
    return ChatResult([to_chat_completion(output) for output in outputs], _usage(outputs[0].step),
                      _logprobs(outputs[0].step.prompt_logprobs), form)
