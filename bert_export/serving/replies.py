"""What goes back instead of an answer: errors with the status and body that clients know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from bert_export.errors import (
    BertExportError,
    BusyError,
    InputError,
    TargetError,
    TooLargeError,
    one_line,
)

__all__ = [
    "ErrorBody",
    "Problem",
    "kserve_error",
    "openai_error",
    "problem_of",
    "tei_error",
]


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request is not answered.

    Args:
        status: Of HTTP.
        kind: What Text Embeddings Inference calls it.
        text: One line.
        headers: Further ones.
    """

    status: int
    kind: str
    text: str
    headers: tuple[tuple[bytes, bytes], ...] = field(default=())


ErrorBody = Callable[[Problem], Any]
"""A problem to the body in which a family of clients expects it."""

_BUSY = ((b"retry-after", b"1"),)


def problem_of(error: Exception) -> Problem | None:
    """The status of an error; ``None`` where it is a fault of the service."""
    if isinstance(error, BusyError):
        return Problem(429, "Overloaded", str(error), _BUSY)
    if isinstance(error, TooLargeError):
        return Problem(413, "Validation", str(error))
    if isinstance(error, TargetError):
        return Problem(424, "Backend", str(error))
    if isinstance(error, msgspec.ValidationError):
        return Problem(422, "Validation", f"body does not fit: {one_line(error)}.")
    if isinstance(error, msgspec.DecodeError | RecursionError):
        return Problem(400, "Validation", f"body is no JSON: {one_line(error)}.")
    if isinstance(error, InputError | BertExportError):
        return Problem(422, "Tokenizer", str(error))
    return None


def tei_error(problem: Problem) -> Any:
    """As Text Embeddings Inference and the Hugging Face hub."""
    return {"error": problem.text, "error_type": problem.kind}


def openai_error(problem: Problem) -> Any:
    """As OpenAI."""
    kind = "invalid_request_error" if problem.status < 500 else "server_error"
    return {"error": {"message": problem.text, "type": kind, "param": None, "code": problem.status}}


def kserve_error(problem: Problem) -> Any:
    """As the Open Inference Protocol, which is KServe's version 2."""
    return {"error": problem.text}
