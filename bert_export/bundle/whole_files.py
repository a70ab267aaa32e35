"""Write a file whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under another name first, and give it its own name in one step.

    A reader sees the old file or the new one, never a part of it. Where writing fails, the old file
    stays and nothing is left behind.

    Args:
        path: Of the file; its folder exists.
        content: All of it.

    Raises:
        OSError: The disk is full, the folder cannot be written to, and the like.
    """
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    unfinished = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        unfinished.chmod(0o644)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
