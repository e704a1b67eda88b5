# SPDX-License-Identifier: Apache-2.0
"""`lanner` and `python -m lanner`: become the program that comes with the package."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from .program import program


def main() -> NoReturn:
    path = program()
    os.execv(path, ["lanner", *sys.argv[1:]])


if __name__ == "__main__":
    main()
