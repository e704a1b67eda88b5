# SPDX-License-Identifier: Apache-2.0
"""Forms that an answer must have."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

from .errors import InvalidArgumentError


@dataclass(frozen=True)
class StructuredOutput:
    """A form that an answer must have: tokens that would leave it are never drawn.

    Made by one of the methods below. docs/structured-output.md has what is understood, and the limits.
    """

    kind: str
    source: str = ""
    choices: tuple[str, ...] = ()
    # What the text becomes when it is read: a Pydantic model, or None for plain values.
    model: Any = None

    @staticmethod
    def json_object() -> StructuredOutput:
        """Any JSON object."""
        return StructuredOutput("json_object")

    @staticmethod
    def json_schema(schema: Mapping[str, Any] | str | type[Any]) -> StructuredOutput:
        """JSON that is valid against a schema: a dict, its JSON text, or a Pydantic model."""
        if isinstance(schema, str):
            return StructuredOutput("json_schema", schema)
        if isinstance(schema, Mapping):
            return StructuredOutput("json_schema", json.dumps(schema))
        if hasattr(schema, "model_json_schema"):
            return StructuredOutput("json_schema", json.dumps(schema.model_json_schema()), model=schema)
        raise InvalidArgumentError(f"a JSON schema is a dict, JSON text or a Pydantic model, not {schema!r}")

    @staticmethod
    def regex(pattern: str) -> StructuredOutput:
        """Text that the regular expression (syntax of the Rust crate regex) matches as a whole."""
        return StructuredOutput("regex", pattern)

    @staticmethod
    def choice(choices: Sequence[str]) -> StructuredOutput:
        """One of several texts."""
        return StructuredOutput("choice", choices=tuple(choices))

    @staticmethod
    def lark(grammar: str) -> StructuredOutput:
        """Text that the Lark grammar derives from its rule `start`."""
        return StructuredOutput("lark", grammar)

    def parse(self, text: str) -> Any:
        """The text as an instance of the Pydantic model, as JSON's value, or as it is (regex, choice, lark).

        Raises ValueError (Pydantic's ValidationError is one) where the text was cut off.
        """
        if self.model is not None:
            return self.model.model_validate_json(text)
        return json.loads(text) if self.kind.startswith("json") else text


# What SamplingParams.structured takes: a form, a JSON schema as a dict, or a Pydantic model.
Form = Union[StructuredOutput, Mapping[str, Any], type[Any]]


def to_form(value: Form) -> StructuredOutput:
    """The form that a dict or a Pydantic model stands for."""
    return value if isinstance(value, StructuredOutput) else StructuredOutput.json_schema(value)
