# SPDX-License-Identifier: Apache-2.0
"""How the next token is chosen and when an answer ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from .structured_output import Form, StructuredOutput, to_form


@dataclass(kw_only=True)
class SamplingParams:
    """How the next token is chosen and when an answer ends. The defaults are greedy decoding.

    Order of the logits processors: form, logit bias, bad words and min_tokens, penalties, temperature, top-k, top-p,
    min-p, typical-p. Values out of range raise InvalidArgumentError when they are used.

    Attributes:
        temperature: 0 is greedy: the likeliest token, the lowest id among equals. Range [0, 100].
        top_k: Keep the k likeliest tokens; 0 keeps all.
        top_p: Keep the smallest set whose probabilities sum to at least top_p. Range (0, 1].
        min_p: Keep tokens with at least min_p times the probability of the best one. Range [0, 1].
        typical_p: Keep the tokens of about the expected surprise, as many as sum to typical_p. Range (0, 1].
        repetition_penalty: Above 1: avoid tokens of the prompt and the output. Range (0, 100].
        frequency_penalty: Subtracted from a logit once per occurrence in the output. Range [-2, 2].
        presence_penalty: Subtracted from a logit if its token is in the output. Range [-2, 2].
        logit_bias: Added to the logits of tokens, by token id. Range [-100, 100]; at most 1024.
        bad_words: Texts that must not be generated; at most 128.
        bad_word_ids: The same as lists of token ids; at most 1024.
        seed: The same seed gives the same text, alone or in any batch. None: one is drawn.
        n: Answers wanted. Range [1, 128].
        best_of: Sequences generated, of which the n likeliest per token are returned. None: n.
        beam_width: Beam search with so many beams; 0: none. Range [2, 64], at least n.
        length_penalty: Of beams: above 0 favours long ones. Range [-10, 10].
        early_stopping: When a beam search ends: "heuristic", "always" or "never".
        logprobs: Log-probabilities of each output token and of so many of the likeliest ones at its place. Range
            [0, 20]; None: none.
        prompt_logprobs: The same for the tokens of the prompt, which is then computed whole.
        max_tokens: Tokens to generate at most; None: up to the model's context.
        min_tokens: Nothing ends the answer before so many tokens.
        stop: Texts that end the answer; they are not part of it. At most 16.
        include_stop: Keep the stop text in the answer.
        stop_token_ids: Token ids that end the answer, besides the model's own end tokens.
        ignore_eos: Go on after the model's end tokens.
        structured: The form of the answer: a StructuredOutput, a JSON schema as a dict, or a Pydantic model.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    bad_words: Sequence[str] = ()
    bad_word_ids: Sequence[Sequence[int]] = ()
    seed: int | None = None
    n: int = 1
    best_of: int | None = None
    beam_width: int = 0
    length_penalty: float = 1.0
    early_stopping: str = "heuristic"
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    max_tokens: int | None = None
    min_tokens: int = 0
    stop: str | Sequence[str] = ()
    include_stop: bool = False
    stop_token_ids: Sequence[int] = ()
    ignore_eos: bool = False
    structured: Form | None = None

    @property
    def form(self) -> StructuredOutput | None:
        """`structured` as a StructuredOutput."""
        return None if self.structured is None else to_form(self.structured)


def to_fields(params: SamplingParams) -> dict[str, Any]:
    """The fields as the module takes them."""
    values = {entry.name: getattr(params, entry.name) for entry in fields(params)}
    values["stop"] = [params.stop] if isinstance(params.stop, str) else list(params.stop)
    values["logit_bias"] = dict(params.logit_bias)
    form = params.form
    if form is None:
        del values["structured"]
    else:
        values["structured"] = {"kind": form.kind, "source": form.source, "choices": list(form.choices)}
    return values
