# SPDX-License-Identifier: Apache-2.0
"""The program `lanner` that comes with the package."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import NotFoundError


def worker_program() -> str:
    """The same where it is there; else none, and the library looks for one on the PATH."""
    try:
        return program()
    except NotFoundError:
        return ""


def program() -> str:
    """Its path."""
    path = Path(__file__).parent / "bin" / "lanner"
    if not os.access(path, os.X_OK):
        raise NotFoundError(f"the program is not there: {path}")
    return str(path)
