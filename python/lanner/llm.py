# SPDX-License-Identifier: Apache-2.0
"""A loaded model."""

from __future__ import annotations

import json
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Union, overload

import numpy as np
import numpy.typing as npt

from . import _lanner
from .chat import Conversation, Tool, ToolChoice, is_conversation, to_messages, to_tool, to_tool_choice
from .default_model import default_model
from .errors import InternalError, InvalidArgumentError
from .outputs import (
    ChatChunk,
    ChatResult,
    Completion,
    GenerationResult,
    to_chat_chunk,
    to_chat_result,
    to_completion,
    to_generation_result,
)
from .program import worker_program
from .requests import AsyncStream, Stream, wait_for_all, wait_for_all_async
from .sampling_params import SamplingParams, to_fields

# Text, or token ids (also as a NumPy array).
Prompt = Union[str, Sequence[int], "npt.NDArray[np.integer[Any]]"]
Progress = Callable[[str, int, int], object]


def _is_prompt(value: Any) -> bool:
    """One prompt rather than several."""
    if isinstance(value, str):
        return True
    if isinstance(value, np.ndarray):
        return value.ndim == 1
    return len(value) > 0 and not isinstance(value[0], (str, Sequence, np.ndarray))


def _token_ids(tokens: Any) -> list[int]:
    return tokens.tolist() if isinstance(tokens, np.ndarray) else list(tokens)


def _adapters(options: Mapping[str, Any], count: int) -> list[str]:
    """One for each prompt, of what was given as `lora`."""
    lora = options.get("lora", "")
    if isinstance(lora, str):
        return [lora] * count
    if len(lora) != count:
        raise InvalidArgumentError(f"{len(lora)} lora for {count} prompts")
    return list(lora)


class LLM:
    """A loaded model with its tokenizer and its engine. All methods may be called from any thread.

    Args:
        model: A folder (config.json, *.safetensors, tokenizer files) or a GGUF file; None: the default model.
        dtype: Type of the weights: "auto" (as in the file), "fp32", "fp16", "bf16", "int8", "w8a8", "int4", "int4g64",
            "int4g128" or "int4_asym".
        random_weights: Draw the weights at random (measurements); `model` may then be a name such as "llama-1b".
        kv_dtype: Type of the KV cache: "auto" (fp16), "fp32", "fp16", "bf16", "int8" or "int8-plain".
        attention: Attention of prompts: "auto", "slim" or "flash".
        threads: Compute threads; 0: one per physical core, within the CPU quota.
        tensor_parallel: Processes that compute the model together, each with its share; 0: one per NUMA node.
        hosts: Ranks on several machines, "NAME[:N],…", this one first; on the others `lanner worker` is started as often.
        rendezvous: "HOST:PORT" where they meet; "": the first of hosts, port 29500.
        job_secret: What they share, at least 16 characters; "": LANNER_SECRET of the environment.
        rendezvous_timeout: Seconds until all have come.
        communicator: What ranks add up over: "auto", "shm", "oneccl" or "fastest".
        wire: What sums travel as over oneCCL: "fp32", or "bf16" for half of the bytes.
        restart_ranks: How often in a row the model is loaded again when ranks are lost.
        max_context: Longest prompt and answer together in tokens; 0: what the model was trained for.
        kv_cache_bytes: Bytes for the KV cache; 0: what max_sequences of max_context need, as far as the memory allows.
        max_tokens_per_step: Tokens computed in one step at most.
        max_sequences: Sequences decoded together at most.
        prefix_cache: Reuse the KV cache of earlier prompts that begin alike.
        ngram_speculation: Propose tokens that the sequence has had in the same place before.
        draft_model: A smaller model with the same vocabulary that proposes tokens; "": none.
        draft_dtype: As dtype, of the draft model's weights.
        draft_tokens: Tokens that are proposed for a sequence in one step, range [0, 16]; 0: as many as pay.
        lora: LoRA adapters, of which each request may name one: names and the folders that PEFT has written.
        lora_merge: Add them to the weights instead: the model is the changed one, and no request names an adapter.
        progress: Called now and then while loading with a stage, and how far it is, in bytes: (stage, done, total).

    Raises:
        NotFoundError, CorruptFileError, UnsupportedError (naming the key, tensor or type), ResourceExhaustedError when the
        model does not fit the memory.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        dtype: str = "auto",
        random_weights: bool = False,
        kv_dtype: str = "auto",
        attention: str = "auto",
        threads: int = 0,
        tensor_parallel: int = 0,
        hosts: str = "",
        rendezvous: str = "",
        job_secret: str = "",
        rendezvous_timeout: float = 300.0,
        communicator: str = "auto",
        wire: str = "fp32",
        restart_ranks: int = 0,
        max_context: int = 0,
        kv_cache_bytes: int = 0,
        max_tokens_per_step: int = 512,
        max_sequences: int = 64,
        prefix_cache: bool = True,
        ngram_speculation: bool = True,
        draft_model: str | os.PathLike[str] = "",
        draft_dtype: str = "auto",
        draft_tokens: int = 0,
        lora: Mapping[str, str | os.PathLike[str]] | None = None,
        lora_merge: bool = False,
        progress: Progress | None = None,
    ) -> None:
        config = {
            "dtype": dtype,
            "random_weights": random_weights,
            "kv_dtype": kv_dtype,
            "attention": attention,
            "threads": threads,
            "tensor_parallel": tensor_parallel,
            "worker_program": worker_program(),
            "hosts": hosts,
            "rendezvous": rendezvous,
            "job_secret": job_secret or os.environ.get("LANNER_SECRET", ""),
            "rendezvous_timeout": float(rendezvous_timeout),
            "communicator": communicator,
            "wire": wire,
            "restart_ranks": restart_ranks,
            "max_context": max_context,
            "kv_cache_bytes": kv_cache_bytes,
            "max_tokens_per_step": max_tokens_per_step,
            "max_sequences": max_sequences,
            "prefix_cache": prefix_cache,
            "ngram_speculation": ngram_speculation,
            "draft_model": os.fspath(draft_model),
            "draft_dtype": draft_dtype,
            "draft_tokens": draft_tokens,
            "lora": {name: os.fspath(folder) for name, folder in (lora or {}).items()},
            "lora_merge": lora_merge,
        }
        self.path: str = default_model() if model is None else os.fspath(model)
        self._model = _lanner.Model(self.path, config, progress)
        # Also where the interpreter ends with the model in a global variable: its threads end in order.
        self._finalizer = weakref.finalize(self, self._model.close)
        self._vocab_size: int | None = None

    def close(self) -> None:
        """Frees the model. Requests under way go on."""
        self._finalizer()

    def __enter__(self) -> LLM:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"LLM({self.path!r})"

    # Text from prompts

    @overload
    def generate(self, prompts: Prompt,  # type: ignore[overload-overlap]
                 sampling_params: SamplingParams | None = None, *, truncate_prompt: bool = False,
                 prompt_has_special_tokens: bool = False, priority: int = 0, cache_salt: str = "",
                 lora: str = "") -> GenerationResult: ...

    @overload
    def generate(self, prompts: Sequence[Prompt], sampling_params: SamplingParams | Sequence[SamplingParams] | None = None, *,
                 truncate_prompt: bool = False, prompt_has_special_tokens: bool = False, priority: int = 0,
                 cache_salt: str = "", lora: str | Sequence[str] = "") -> list[GenerationResult]: ...

    def generate(self, prompts: Any, sampling_params: Any = None, **options: Any) -> Any:
        """Continues a prompt (a str, or token ids), or several together.

        Args:
            prompts: One prompt, or a list of them.
            sampling_params: For all, or a list with one for each; None: what the model proposes.
            truncate_prompt: Leave out the first tokens of a prompt that is too long, instead of raising.
            prompt_has_special_tokens: Texts hold the model's special tokens (a rendered chat template): add none.
            priority: Lower goes first.
            cache_salt: Cached prompts are shared only among requests with the same salt.
            lora: The adapter that computes it, by its name; "": the model alone. For several prompts one, or a list.

        Returns:
            A GenerationResult for one prompt, a list of them for a list.

        Raises:
            InvalidArgumentError for values out of range, and a prompt that does not fit the context.
        """
        single, requests, forms = self._requests(prompts, sampling_params, options)
        results = wait_for_all(self._model.submit(requests), len(requests))
        answers = [to_generation_result(outputs, form) for outputs, form in zip(results, forms)]
        return answers[0] if single else answers

    @overload
    async def agenerate(self, prompts: Prompt,  # type: ignore[overload-overlap]
                        sampling_params: SamplingParams | None = None, *,
                        truncate_prompt: bool = False, prompt_has_special_tokens: bool = False, priority: int = 0,
                        cache_salt: str = "", lora: str = "") -> GenerationResult: ...

    @overload
    async def agenerate(self, prompts: Sequence[Prompt],
                        sampling_params: SamplingParams | Sequence[SamplingParams] | None = None, *,
                        truncate_prompt: bool = False, prompt_has_special_tokens: bool = False, priority: int = 0,
                        cache_salt: str = "", lora: str | Sequence[str] = "") -> list[GenerationResult]: ...

    async def agenerate(self, prompts: Any, sampling_params: Any = None, **options: Any) -> Any:
        """generate() for asyncio; cancelling the task ends the requests."""
        single, requests, forms = self._requests(prompts, sampling_params, options)
        results = await wait_for_all_async(self._model.submit(requests), len(requests))
        answers = [to_generation_result(outputs, form) for outputs, form in zip(results, forms)]
        return answers[0] if single else answers

    def stream(self, prompt: Prompt, sampling_params: SamplingParams | None = None, *, truncate_prompt: bool = False,
               prompt_has_special_tokens: bool = False, priority: int = 0, cache_salt: str = "",
               lora: str = "") -> Stream[Completion]:
        """generate() for one prompt, as it comes: an iterator of Completions whose texts and tokens add up."""
        return Stream(self._stream(prompt, sampling_params, truncate_prompt=truncate_prompt, priority=priority,
                                   prompt_has_special_tokens=prompt_has_special_tokens, cache_salt=cache_salt, lora=lora),
                      to_completion)

    def astream(self, prompt: Prompt, sampling_params: SamplingParams | None = None, *, truncate_prompt: bool = False,
                prompt_has_special_tokens: bool = False, priority: int = 0,
                cache_salt: str = "", lora: str = "") -> AsyncStream[Completion]:
        """stream() for `async for`."""
        return AsyncStream(self._stream(prompt, sampling_params, truncate_prompt=truncate_prompt, priority=priority,
                                        prompt_has_special_tokens=prompt_has_special_tokens, cache_salt=cache_salt, lora=lora),
                           to_completion)

    # Answers in conversations

    @overload
    def chat(self, messages: Conversation,  # type: ignore[overload-overlap]
             sampling_params: SamplingParams | None = None, *, tools: Sequence[Tool] = (),
             tool_choice: ToolChoice | Mapping[str, Any] = "auto", parallel_tool_calls: bool = True,
             template_arguments: Mapping[str, Any] | None = None, split_reasoning: bool = True, truncate_prompt: bool = False,
             priority: int = 0, cache_salt: str = "", lora: str = "") -> ChatResult: ...

    @overload
    def chat(self, messages: Sequence[Conversation], sampling_params: SamplingParams | Sequence[SamplingParams] | None = None,
             *, tools: Sequence[Tool] = (), tool_choice: ToolChoice | Mapping[str, Any] = "auto",
             parallel_tool_calls: bool = True, template_arguments: Mapping[str, Any] | None = None,
             split_reasoning: bool = True, truncate_prompt: bool = False, priority: int = 0,
             cache_salt: str = "", lora: str | Sequence[str] = "") -> list[ChatResult]: ...

    def chat(self, messages: Any, sampling_params: Any = None, **options: Any) -> Any:
        """Answers a conversation, or several together, with the model's own chat template.

        Args:
            messages: A str (one message of the user), a list of messages as OpenAI's API has them, or a list of
                conversations.
            sampling_params: As in generate().
            tools: Functions that the model may call, as OpenAI's API has them.
            tool_choice: "auto", "none", "required", or the name of a tool.
            parallel_tool_calls: False: one call at most.
            template_arguments: Further variables of the chat template, e.g. {"enable_thinking": False}.
            split_reasoning: Text between <think> and </think> comes as reasoning; False: it stays in the text.
            truncate_prompt, priority, cache_salt, lora: As in generate().

        Returns:
            A ChatResult for one conversation, a list of them for a list.

        Raises:
            InvalidArgumentError, also with the template's own words when it refuses the messages; UnsupportedError when the
            model has no template, or one that does not render the tools.
        """
        single, chats, forms = self._chats(messages, sampling_params, options)
        results = wait_for_all(self._model.submit_chats(chats), len(chats))
        answers = [to_chat_result(outputs, form) for outputs, form in zip(results, forms)]
        return answers[0] if single else answers

    @overload
    async def achat(self, messages: Conversation,  # type: ignore[overload-overlap]
                    sampling_params: SamplingParams | None = None, *,
                    tools: Sequence[Tool] = (), tool_choice: ToolChoice | Mapping[str, Any] = "auto",
                    parallel_tool_calls: bool = True, template_arguments: Mapping[str, Any] | None = None,
                    split_reasoning: bool = True, truncate_prompt: bool = False, priority: int = 0,
                    cache_salt: str = "", lora: str = "") -> ChatResult: ...

    @overload
    async def achat(self, messages: Sequence[Conversation],
                    sampling_params: SamplingParams | Sequence[SamplingParams] | None = None, *, tools: Sequence[Tool] = (),
                    tool_choice: ToolChoice | Mapping[str, Any] = "auto", parallel_tool_calls: bool = True,
                    template_arguments: Mapping[str, Any] | None = None, split_reasoning: bool = True,
                    truncate_prompt: bool = False, priority: int = 0, cache_salt: str = "",
                    lora: str | Sequence[str] = "") -> list[ChatResult]: ...

    async def achat(self, messages: Any, sampling_params: Any = None, **options: Any) -> Any:
        """chat() for asyncio; cancelling the task ends the requests."""
        single, chats, forms = self._chats(messages, sampling_params, options)
        results = await wait_for_all_async(self._model.submit_chats(chats), len(chats))
        answers = [to_chat_result(outputs, form) for outputs, form in zip(results, forms)]
        return answers[0] if single else answers

    def stream_chat(self, messages: Conversation, sampling_params: SamplingParams | None = None, *,
                    tools: Sequence[Tool] = (), tool_choice: ToolChoice | Mapping[str, Any] = "auto",
                    parallel_tool_calls: bool = True, template_arguments: Mapping[str, Any] | None = None,
                    split_reasoning: bool = True, truncate_prompt: bool = False, priority: int = 0,
                    cache_salt: str = "", lora: str = "") -> Stream[ChatChunk]:
        """chat() for one conversation, as it comes: an iterator of ChatChunks whose contents add up."""
        return Stream(self._stream_chat(
            messages, sampling_params, tools=tools, tool_choice=tool_choice, parallel_tool_calls=parallel_tool_calls,
            template_arguments=template_arguments, split_reasoning=split_reasoning, truncate_prompt=truncate_prompt,
            priority=priority, cache_salt=cache_salt, lora=lora), to_chat_chunk)

    def astream_chat(self, messages: Conversation, sampling_params: SamplingParams | None = None, *,
                     tools: Sequence[Tool] = (), tool_choice: ToolChoice | Mapping[str, Any] = "auto",
                     parallel_tool_calls: bool = True, template_arguments: Mapping[str, Any] | None = None,
                     split_reasoning: bool = True, truncate_prompt: bool = False, priority: int = 0,
                     cache_salt: str = "", lora: str = "") -> AsyncStream[ChatChunk]:
        """stream_chat() for `async for`."""
        return AsyncStream(self._stream_chat(
            messages, sampling_params, tools=tools, tool_choice=tool_choice, parallel_tool_calls=parallel_tool_calls,
            template_arguments=template_arguments, split_reasoning=split_reasoning, truncate_prompt=truncate_prompt,
            priority=priority, cache_salt=cache_salt, lora=lora), to_chat_chunk)

    # Vectors of texts

    def embed(self, texts: Prompt | Sequence[Prompt], *, pooling: str = "mean", normalized: bool = True, truncate: bool = False,
              priority: int = 0, cache_salt: str = "", lora: str = "") -> npt.NDArray[np.float32]:
        """A vector of each text (a str, or token ids), made of the hidden states after the model's last norm.

        Args:
            texts: One text, or a list of them.
            pooling: "mean" of all tokens, "last" or "first" one.
            normalized: To a Euclidean length of 1.
            truncate: Leave out the last tokens of a text that is longer than the context, instead of raising.
            priority, cache_salt, lora: As in generate().

        Returns:
            [embedding_size] for one text, [len(texts), embedding_size] for a list.
        """
        single, requests = self._texts(texts, pooling=pooling, normalized=normalized, truncate=truncate, priority=priority,
                                       cache_salt=cache_salt, lora=lora)
        return self._vectors(wait_for_all(self._model.submit_embeddings(requests), len(requests)), single)

    async def aembed(self, texts: Prompt | Sequence[Prompt], *, pooling: str = "mean", normalized: bool = True,
                     truncate: bool = False, priority: int = 0, cache_salt: str = "",
                     lora: str = "") -> npt.NDArray[np.float32]:
        """embed() for asyncio; cancelling the task ends the requests."""
        single, requests = self._texts(texts, pooling=pooling, normalized=normalized, truncate=truncate, priority=priority,
                                       cache_salt=cache_salt, lora=lora)
        return self._vectors(await wait_for_all_async(self._model.submit_embeddings(requests), len(requests)), single)

    # The model itself

    def forward(self, tokens: Sequence[int] | npt.NDArray[np.integer[Any]], *, lora: str = "") -> npt.NDArray[np.float32]:
        """The logits of every position, [len(tokens), vocab_size]. Generates nothing and needs no tokenizer."""
        ids = _token_ids(tokens)
        logits = np.empty((len(ids), self.vocab_size), np.float32)
        self._model.forward(ids, logits, lora)
        return logits

    def tokenize(self, text: str, *, with_special: bool = True) -> list[int]:
        """Token ids; with_special adds what the tokenizer adds by default (e.g. <s>)."""
        return self._model.tokenize(text, with_special)

    def detokenize(self, tokens: Sequence[int] | npt.NDArray[np.integer[Any]], *, skip_special: bool = True) -> str:
        """The text of token ids."""
        return self._model.detokenize(_token_ids(tokens), skip_special)

    def render(self, messages: Conversation, *, tools: Sequence[Tool] = (), add_generation_prompt: bool = True,
               template_arguments: Mapping[str, Any] | None = None) -> str:
        """The prompt that the model's chat template makes of a conversation."""
        chat = self._chat(messages, SamplingParams(), tools=tools, template_arguments=template_arguments)
        return self._model.render({**chat, "add_generation_prompt": add_generation_prompt})

    def default_sampling_params(self) -> SamplingParams:
        """What the model's generation_config.json proposes, else greedy."""
        fields: dict[str, Any] = self._model.default_sampling_params()
        fields = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
        return SamplingParams(**fields)

    @property
    def lora_adapters(self) -> list[str]:
        """The names that requests may give as `lora`."""
        return self._model.lora_adapters

    @property
    def has_chat_template(self) -> bool:
        return self._model.has_chat_template

    @property
    def max_context(self) -> int:
        """Longest prompt and answer together, in tokens."""
        return self._model.max_context

    @property
    def embedding_size(self) -> int:
        """Numbers in a vector that embed() makes."""
        return self._model.embedding_size

    @property
    def vocab_size(self) -> int:
        """Width of the logits."""
        if self._vocab_size is None:
            self._vocab_size = int(self.report()["model"]["vocab_size"])
        return self._vocab_size

    def stats(self) -> dict[str, float]:
        """What the model did since it was loaded: counts, seconds and bytes."""
        return self._model.stats()

    def report(self) -> dict[str, Any]:
        """Machine, kernels chosen, configuration and memory plan."""
        report: dict[str, Any] = json.loads(self._model.report())
        return report

    # Arguments as the module takes them

    def _sampling(self, params: SamplingParams | Sequence[SamplingParams] | None, count: int) -> list[SamplingParams]:
        if params is None:
            params = self.default_sampling_params()
        if isinstance(params, SamplingParams):
            return [params] * count
        if len(params) != count:
            raise InvalidArgumentError(f"{len(params)} sampling_params for {count} prompts")
        return list(params)

    def _requests(self, prompts: Any, sampling: Any, options: dict[str, Any]) -> tuple[bool, list[dict[str, Any]], list[Any]]:
        single = _is_prompt(prompts)
        prompts = [prompts] if single else list(prompts)
        params = self._sampling(sampling, len(prompts))
        adapters = _adapters(options, len(prompts))
        requests = [
            {**options, "prompt": prompt if isinstance(prompt, str) else _token_ids(prompt), "sampling": to_fields(each),
             "lora": adapter}
            for prompt, each, adapter in zip(prompts, params, adapters)
        ]
        return single, requests, [each.form for each in params]

    @staticmethod
    def _texts(texts: Any, **options: Any) -> tuple[bool, list[dict[str, Any]]]:
        single = _is_prompt(texts)
        texts = [texts] if single else list(texts)
        return single, [{**options, "input": text if isinstance(text, str) else _token_ids(text)} for text in texts]

    def _vectors(self, outputs: list[list[_lanner.EmbeddingOutput]], single: bool) -> npt.NDArray[np.float32]:
        vectors = np.empty((len(outputs), self.embedding_size), np.float32)
        for row, (output,) in zip(vectors, outputs):
            if output.finish_reason != "stop":
                raise InternalError(output.error or f"the request was {output.finish_reason}")
            row[:] = np.frombuffer(output.values, np.float32)
        return vectors[0] if single else vectors

    def _chats(self, conversations: Any, sampling: Any, options: dict[str, Any]) -> tuple[bool, list[dict[str, Any]], list[Any]]:
        single = is_conversation(conversations)
        conversations = [conversations] if single else list(conversations)
        params = self._sampling(sampling, len(conversations))
        adapters = _adapters(options, len(conversations))
        chats = [self._chat(conversation, each, **{**options, "lora": adapter})
                 for conversation, each, adapter in zip(conversations, params, adapters)]
        return single, chats, [each.form for each in params]

    @staticmethod
    def _chat(messages: Conversation, sampling: SamplingParams, *, tools: Sequence[Tool] = (),
              tool_choice: ToolChoice | Mapping[str, Any] = "auto", template_arguments: Mapping[str, Any] | None = None,
              **options: Any) -> dict[str, Any]:
        return {
            **options,
            "messages": to_messages(messages),
            "tools": [to_tool(tool) for tool in tools],
            "tool_choice": to_tool_choice(tool_choice),
            "template_arguments": "" if template_arguments is None else json.dumps(dict(template_arguments)),
            "sampling": to_fields(sampling),
        }

    def _stream(self, prompt: Prompt, sampling: SamplingParams | None, **options: Any) -> _lanner.GenerateRequests:
        single, requests, _ = self._requests(prompt, sampling, options)
        if not single:
            raise InvalidArgumentError("a stream has one prompt")
        return self._model.submit(requests)

    def _stream_chat(self, messages: Conversation, sampling: SamplingParams | None, **options: Any) -> _lanner.ChatRequests:
        single, chats, _ = self._chats(messages, sampling, options)
        if not single:
            raise InvalidArgumentError("a stream has one conversation")
        return self._model.submit_chats(chats)
