"""How a report's files are written: each is whole, or as it was before."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bert_export.errors import InputError

__all__ = ["write_whole"]


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside its place first, and put it there in one step.

    Raises:
        InputError: The disk is full, the folder is gone, and the like; nothing is left behind.
    """
    temporary: Path | None = None
    try:
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            temporary = Path(file.name)
            file.write(content)
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise InputError(
            f"report file {path} cannot be written",
            expected="a folder with room that can be written to",
            got=error.strerror or str(error),
            fix="Make room, then run the same command again",
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
