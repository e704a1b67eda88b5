# SPDX-License-Identifier: Apache-2.0
"""What is done to models besides running them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from typing import Any

from . import _lanner
from ._lanner import PulledModel, QuantizeReport

__all__ = ["PulledModel", "QuantizeReport", "plan_distributed", "pull", "quantize"]

Progress = Callable[[str, int, int], object]


def quantize(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    dtype: str = "int8",
    embedding_dtype: str = "auto",
    lora: Sequence[str | os.PathLike[str]] = (),
    overwrite: bool = False,
    threads: int = 0,
    progress: Progress | None = None,
) -> QuantizeReport:
    """Writes a model with its matrices in another type: a GGUF file where `target` ends with ".gguf", else a folder.

    Args:
        source: A folder or a GGUF file.
        target: Appears whole or not at all.
        dtype: Of the matrices: one of LLM's; of a GGUF file "fp32", "fp16", "bf16", "q8_0", "q4_0", "q4_1" or "q4_k".
        embedding_dtype: Of the token vectors in a GGUF file; "auto": "q8_0" beside quantised matrices, else theirs.
        lora: Folders of adapters to add to the weights first.
        overwrite: Replace a model that is there.
        threads: As in LLM.
        progress: Called now and then: (stage, bytes done, bytes in all).

    Raises:
        As LLM for `source`; InvalidArgumentError for an unknown type or a target that is there; UnsupportedError for a model
        that the target cannot hold; IoError for a full disk.
    """
    options = {"dtype": dtype, "embedding_dtype": embedding_dtype, "lora": [os.fspath(folder) for folder in lora],
               "overwrite": overwrite, "threads": threads}
    return _lanner.quantize(os.fspath(source), os.fspath(target), options, progress)


def pull(
    model: str,
    *,
    revision: str = "main",
    include: Sequence[str] = (),
    url: str = "",
    cache_dir: str | os.PathLike[str] = "",
    token: str = "",
    offline: bool = False,
    connections: int = 4,
    progress: Progress | None = None,
) -> PulledModel:
    """Brings a model OWNER/NAME from a hub into the cache; what is there is not fetched again.

    Args:
        model: Its name on the hub.
        revision: Branch, tag or commit.
        include: Names of files to take, with * and ?; none: what Lanner needs.
        url: Of the hub; "": $LANNER_HUB_URL, else https://huggingface.co.
        cache_dir: "": $LANNER_HUB_CACHE, else that of Hugging Face's own programs.
        token: "": $LANNER_HUB_TOKEN, else $HF_TOKEN.
        offline: Use no network: what the cache has.
        connections: For one file at a time.
        progress: Called now and then: (file, bytes done, bytes in all).

    Returns:
        Where it is (`path`, for LLM) and what was fetched.

    Raises:
        NotFoundError for an unknown model, revision or file; IoError for a hub that cannot be reached or refuses, a full
        disk; CorruptFileError for a wrong checksum.
    """
    options = {"revision": revision, "include": list(include), "url": url, "cache_dir": os.fspath(cache_dir), "token": token,
               "offline": offline, "connections": connections}
    return _lanner.pull(model, options, progress)


def plan_distributed(
    model: str | os.PathLike[str],
    *,
    ranks: Sequence[int] = (1, 2, 4, 8),
    latency_us: float = 0.0,
    bandwidth_gbps: float = 0.0,
    communication: str = "",
    read_gbps: float = 0.0,
    sums_per_layer: int = 2,
    batch: int = 1,
    depth: int = 0,
    progress: Progress | None = None,
    **config: Any,
) -> dict[str, Any]:
    """Predicts a model's decoding on several ranks from a measurement of some of its layers here, in seconds.

    Args:
        model: A folder with config.json, a config.json or a name such as "llama-1b"; no weights are needed.
        ranks: For so many each.
        latency_us, bandwidth_gbps: Of the ranks' connection: a small message, 10^9 bytes per second.
        communication: In place of both, what `lanner bench comm --json` has printed.
        read_gbps: That a rank reads from its memory; 0: as this machine.
        sums_per_layer: 1 where attention and MLP of a block are parallel.
        batch, depth: Sequences, and tokens in the KV cache before.
        progress: Called now and then: (stage, done, total).
        config: As in LLM.
    """
    plan = {"ranks": list(ranks), "latency_us": latency_us, "bandwidth_gbps": bandwidth_gbps, "communication": communication,
            "read_gbps": read_gbps, "sums_per_layer": sums_per_layer, "batch": batch, "depth": depth}
    report: dict[str, Any] = json.loads(_lanner.plan_distributed(os.fspath(model), config, plan, progress))
    return report
