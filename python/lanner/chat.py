# SPDX-License-Identifier: Apache-2.0
"""Conversations and tools in the words of OpenAI's API, as the module takes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Union

from .errors import InvalidArgumentError

# {"role": "user", "content": "..."} and what else OpenAI's API has in a message.
Message = Mapping[str, Any]
# A conversation; a str is a single message of the user.
Conversation = Union[str, Sequence[Message]]
# {"type": "function", "function": {"name": ..., "description": ..., "parameters": {...}}}, or the inner dict alone.
Tool = Mapping[str, Any]
# "auto", "none", "required", or the name of a tool.
ToolChoice = str

_MESSAGE_KEYS = {"role", "content", "reasoning_content", "tool_calls", "tool_call_id", "name", "refusal"}


def _function(value: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    inner = value.get("function", value)
    if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
        raise InvalidArgumentError(f"{what} has no name: {value!r}")
    return inner


def _text(value: Any) -> str:
    """JSON text, of a value where it is none yet."""
    return value if isinstance(value, str) else json.dumps(value)


def _to_call(value: Mapping[str, Any]) -> dict[str, str]:
    function = _function(value, "a tool call")
    return {"id": value.get("id") or "", "name": function["name"], "arguments": _text(function.get("arguments", {}))}


def _to_message(message: Message) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise InvalidArgumentError(f"a message is a dict with role and content, not {message!r}")
    if unknown := set(message) - _MESSAGE_KEYS:
        raise InvalidArgumentError(f"a message has no {', '.join(sorted(unknown))}: {message!r}")
    if not isinstance(message.get("role"), str):
        raise InvalidArgumentError(f"a message has no role: {message!r}")
    result: dict[str, Any] = {"role": message["role"]}
    content = message.get("content")
    if isinstance(content, str):
        result["content"] = content
    elif content is not None:
        if any(not isinstance(part, Mapping) or part.get("type", "text") != "text" for part in content):
            raise InvalidArgumentError(f"parts of a content are texts, {{'type': 'text', 'text': ...}}, not {content!r}")
        result["content_parts"] = [part["text"] for part in content]
    for key in ("reasoning_content", "tool_call_id", "name"):
        if message.get(key) is not None:
            result[key] = message[key]
    if message.get("tool_calls"):
        result["tool_calls"] = [_to_call(call) for call in message["tool_calls"]]
    return result


def to_messages(conversation: Conversation) -> list[dict[str, Any]]:
    """The messages of a conversation."""
    if isinstance(conversation, str):
        return [{"role": "user", "content": conversation}]
    return [_to_message(message) for message in conversation]


def to_tool(tool: Tool) -> dict[str, str]:
    """A function that the model may call."""
    function = _function(tool, "a tool")
    parameters = function.get("parameters")
    return {
        "name": function["name"],
        "description": function.get("description") or "",
        "parameters": "" if parameters is None else _text(parameters),
    }


def to_tool_choice(choice: ToolChoice | Mapping[str, Any]) -> dict[str, str]:
    """Whether the model calls functions."""
    if isinstance(choice, Mapping):
        return {"kind": "named", "name": _function(choice, "tool_choice")["name"]}
    if choice in ("auto", "none", "required"):
        return {"kind": choice}
    return {"kind": "named", "name": choice}


def is_conversation(value: Any) -> bool:
    """One conversation rather than several."""
    return isinstance(value, str) or (isinstance(value, Sequence) and (not value or isinstance(value[0], Mapping)))
