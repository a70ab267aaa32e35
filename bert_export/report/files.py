"""How a report's files are written: each is whole, or as it was before."""

from __future__ import annotations

from pathlib import Path

from bert_export.bundle import write_whole
from bert_export.errors import InputError

__all__ = ["write_report_file"]


def write_report_file(path: Path, content: bytes) -> None:
    """Write a file of a report, whole or not at all.

    Raises:
        InputError: The disk is full, the folder is gone, and the like; nothing is left behind.
    """
    try:
        write_whole(path, content)
    except OSError as error:
        raise InputError(
            f"report file {path} cannot be written",
            expected="a folder with room that can be written to",
            got=error.strerror or str(error),
            fix="Make room, then run the same command again",
        ) from error
