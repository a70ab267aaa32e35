"""A bar on standard error, for calls over many items that ask for one."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TypeVar

from bert_export.runtime.checks import check_flag

__all__ = ["watched"]

Answer = TypeVar("Answer")

_LOGGER = logging.getLogger("bert_export")


def watched(answers: Iterable[Answer], total: int, show: bool | None) -> Iterable[Answer]:  # noqa: FBT001 - as callers pass it
    """The same answers, which a bar counts while they are read.

    Args:
        answers: One after the other.
        total: How many there will be.
        show: Whether the bar is drawn; when ``None``, if the logger ``bert_export`` is at ``INFO``
            or below.
    """
    if show is None:
        show = _LOGGER.isEnabledFor(logging.INFO)
    if not check_flag("show_progress_bar", show):
        return answers
    from tqdm.auto import tqdm

    bar: Iterable[Answer] = tqdm(answers, total=total, unit="text")
    return bar
