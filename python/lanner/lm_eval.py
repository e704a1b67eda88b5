# SPDX-License-Identifier: Apache-2.0
"""Lanner as a model of EleutherAI's lm-evaluation-harness (PyPI lm-eval), under the name "lanner".

    python -m lanner.lm_eval --model lanner --model_args model=PATH,dtype=int8 --tasks TASK

or, in Python, `import lanner.lm_eval` before `lm_eval.simple_evaluate(model="lanner", ...)`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lm_eval.api.model import TemplateLM  # type: ignore[import-not-found, unused-ignore]
from lm_eval.api.registry import register_model  # type: ignore[import-not-found, unused-ignore]
from lm_eval.models.utils import normalize_gen_kwargs  # type: ignore[import-not-found, unused-ignore]
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window  # type: ignore[import-not-found, unused-ignore]

from .errors import InvalidArgumentError
from .llm import LLM
from .sampling_params import SamplingParams

# Requests handed to the engine together: it batches them itself, and results of so many fit any memory.
_TOGETHER = 256
# What tasks may ask for, besides the ends and the number of tokens.
_SAMPLING = {"temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty", "frequency_penalty",
             "presence_penalty", "seed"}


def _parts(items: list[Any]) -> Iterator[list[Any]]:
    for begin in range(0, len(items), _TOGETHER):
        yield items[begin : begin + _TOGETHER]


@register_model("lanner")  # type: ignore[untyped-decorator, unused-ignore]
class LannerLM(TemplateLM):  # type: ignore[misc, unused-ignore]
    """A model for the harness.

    Args:
        model: As in LLM; None: the default model.
        max_length: Longest sequence in tokens; None: the model's context.
        max_gen_toks: Tokens to generate where a task does not say.
        config: Everything else that LLM takes, e.g. dtype. batch_size, max_batch_size and device have no meaning here, but the
            harness passes them to every model (its own default is "cuda:0"): the engine batches by itself, on CPUs.
    """

    def __init__(self, model: str | None = None, *, max_length: int | None = None, max_gen_toks: int = 256,
                 batch_size: Any = None, max_batch_size: Any = None, device: Any = None, **config: Any) -> None:
        super().__init__()
        self.llm = LLM(model, max_context=max_length or 0, **config)
        self.max_gen_toks = max_gen_toks

    @property
    def max_length(self) -> int:
        """Tokens that the model is shown at most."""
        return self.llm.max_context - 1  # a request needs room for a token

    @property
    def eot_token_id(self) -> int:
        ends = self.llm.report()["model"]["eos_token_ids"]
        if not ends:
            raise InvalidArgumentError(f"{self.llm.path} names no end token")
        return int(ends[0])

    @property
    def prefix_token_id(self) -> int:
        begin = self.llm.tokenize("")
        return begin[0] if begin else self.eot_token_id

    @property
    def tokenizer_name(self) -> str:
        return self.llm.path.replace("/", "__")

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        return self.llm.tokenize(string, with_special=add_special_tokens is not False)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return self.llm.render(chat_history, add_generation_prompt=add_generation_prompt)

    def _loglikelihood_tokens(self, requests: list[tuple[Any, list[int], list[int]]], **_: Any) -> list[tuple[float, bool]]:
        # The likelihood of a token is the same whether it was given or generated: one forward pass, no generation to speak of.
        params = SamplingParams(max_tokens=1, prompt_logprobs=1, ignore_eos=True)
        answers = []
        for part in _parts(requests):
            # What is too long loses its beginning.
            prompts = [(context + continuation)[-self.max_length :] for _, context, continuation in part]
            for (_, _, continuation), result in zip(part, self.llm.generate(prompts, params)):
                places = result.prompt_logprobs[1:][-len(continuation) :]
                greedy = all(place.token.token_id == place.top[0].token_id for place in places)
                answers.append((sum(place.logprob for place in places), greedy))
        return answers

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        totals = []
        for request in requests:
            (text,) = request.args
            windows = get_rolling_token_windows(self.tok_encode(text, add_special_tokens=False), self.prefix_token_id,
                                                self.max_length - 1, 1)
            pairs = [(None, *make_disjoint_window(window)) for window in windows]
            totals.append(sum(logprob for logprob, _ in self._loglikelihood_tokens(pairs)))
        return totals

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        texts: list[str] = []
        for part in _parts(requests):
            prompts = [self.tok_encode(context) for context, _ in (request.args for request in part)]
            params = [self._sampling(request.args[1]) for request in part]
            results = self.llm.generate(prompts, params, truncate_prompt=True)
            texts += [result.text for result in results]
        return texts

    def _sampling(self, arguments: dict[str, Any]) -> SamplingParams:
        values: dict[str, Any] = dict(normalize_gen_kwargs(arguments, self.max_gen_toks))
        values.pop("do_sample")  # the temperature says it
        stop = [text for text in values.pop("until") if text]
        max_tokens = values.pop("max_gen_toks")
        if unknown := set(values) - _SAMPLING:
            raise InvalidArgumentError(f"a task asks for {', '.join(sorted(unknown))}, which Lanner has not got")
        return SamplingParams(max_tokens=max_tokens, stop=stop, **values)


def main() -> None:
    from lm_eval.__main__ import cli_evaluate  # type: ignore[import-not-found, unused-ignore]

    cli_evaluate()


if __name__ == "__main__":
    main()
