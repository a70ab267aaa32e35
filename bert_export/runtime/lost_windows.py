"""Releases of ``tokenizers`` that silently lose windows of long texts are refused."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import tokenizers
from tokenizers.models import WordPiece

from bert_export.errors import TokenizerError

__all__ = ["WINDOWS", "count_windows", "refuse_lost_windows"]

WINDOWS = 4
"""Windows that :func:`count_windows` counts where none is lost."""

_LENGTH, _SPECIAL = 4, 2  # tokens of a window, and how many of them are special
_LOSING_VERSIONS = ("0.23.1", "0.23.2")


def count_windows() -> int:
    """The windows into which the installed library cuts a text; takes less than a millisecond."""
    backend = tokenizers.Tokenizer(WordPiece({"a": 0, "b": 1, "[UNK]": 2}))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    backend.post_processor = tokenizers.processors.TemplateProcessing(
        single="b $A b", pair=None, special_tokens=[("b", 1)]
    )
    backend.enable_truncation(_LENGTH)
    encoding = backend.encode(" ".join("a" * WINDOWS * (_LENGTH - _SPECIAL)))
    return 1 + len(encoding.overflowing)


@cache
def refuse_lost_windows(count: Callable[[], int] = count_windows) -> None:
    """Refuse a library that loses windows; it is asked once in a process.

    Args:
        count: Counts the windows of a text that has :data:`WINDOWS`.

    Raises:
        TokenizerError: It does; the message has the command that installs another release.
    """
    windows = count()
    if windows != WINDOWS:
        excluded = ",".join(f"!={version}" for version in _LOSING_VERSIONS)
        raise TokenizerError(
            f"tokenizers {tokenizers.__version__} loses windows of long texts",
            expected=f"{WINDOWS} windows of a short text",
            got=windows,
            fix=f"Run pip install 'tokenizers{excluded}'",
        )
