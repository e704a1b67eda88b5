# SPDX-License-Identifier: Apache-2.0
"""Where the model is that is used when none is named, as the program `lanner` has it."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import NotFoundError

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def cache_folder() -> Path:
    """Lanner's cache: $LANNER_CACHE, else in $XDG_CACHE_HOME, else in the home folder."""
    if folder := os.environ.get("LANNER_CACHE"):
        return Path(folder)
    cache = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification: a relative path is to be ignored.
    return (Path(cache) if cache.startswith("/") else Path.home() / ".cache") / "lanner"


def default_model() -> str:
    """The file's path. Raises NotFoundError where scripts/get_default_model.sh has not fetched it."""
    path = cache_folder() / "models" / FILE
    if not path.is_file():
        raise NotFoundError(f"the default model is not there: {path}; scripts/get_default_model.sh fetches it, "
                            "or name a model")
    return str(path)
