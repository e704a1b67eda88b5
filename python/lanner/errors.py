# SPDX-License-Identifier: Apache-2.0
"""What can go wrong. Each message is a sentence that names the thing."""

from __future__ import annotations


class Error(Exception):
    """Every failure of loading, configuration, misuse and generation."""


class InvalidArgumentError(Error, ValueError):
    """A value is wrong: a parameter, a message, a prompt that is too long."""


class NotFoundError(Error, FileNotFoundError):
    """No such file, tensor or model."""


class UnsupportedError(Error):
    """Understood, but Lanner cannot do it: a type, a RoPE scaling, a family."""


class CorruptFileError(Error):
    """A file breaks the rules of its own format."""


class ResourceExhaustedError(Error, MemoryError):
    """The memory or the KV cache does not suffice."""


class IoError(Error, OSError):
    """The system refused: permissions, a full disk."""


class CancelledError(Error):
    """Stopped on request."""


class InternalError(Error):
    """A defect of Lanner: please report it."""


# By the name that lanner::error_code_name has for the code.
ERRORS: dict[str, type[Error]] = {
    "invalid_argument": InvalidArgumentError,
    "not_found": NotFoundError,
    "unsupported": UnsupportedError,
    "corrupt_file": CorruptFileError,
    "resource_exhausted": ResourceExhaustedError,
    "io": IoError,
    "cancelled": CancelledError,
    "internal": InternalError,
}
