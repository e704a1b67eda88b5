# SPDX-License-Identifier: Apache-2.0
"""Models that the tests use."""

import pathlib
import unittest

import lanner
from lanner.default_model import default_model

SOURCE = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = SOURCE / "tests" / "golden"
# Two layers, 320 tokens, no tokenizer: for everything that token ids suffice for.
TINY = GOLDEN / "llama-tied"
TINY_CONFIG = {"dtype": "fp32", "kv_dtype": "fp32", "max_context": 512, "max_sequences": 16, "threads": 1}


def tiny(**config):
    """A tiny model with random weights."""
    return lanner.LLM(TINY, **{**TINY_CONFIG, **config})


def has_default_model():
    """Whether scripts/get_default_model.sh has been run."""
    try:
        default_model()
    except lanner.NotFoundError:
        return False
    return True


needs_default_model = unittest.skipUnless(
    has_default_model(), "the default model is not there (scripts/get_default_model.sh fetches it)")
