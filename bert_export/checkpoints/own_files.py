"""Opening the files that a checkpoint names, of which some may be damaged or hostile.

A file that a user puts in a folder may be a link to anywhere. A name that another file gives, such
as an index of shards, must lead to a file of the same folder.
"""

from __future__ import annotations

import errno
import mmap
from pathlib import Path

from bert_export.errors import CheckpointError, one_line

__all__ = ["is_file", "map_file", "refuse_outside", "refuse_pointer", "release"]

_POINTER = b"version https://git-lfs"


def is_file(path: Path) -> bool:
    """Whether a path leads to a regular file; false for names that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long, in a folder that may not be read, no text
        return False


def refuse_outside(path: Path) -> None:
    """Refuse a link that leaves its folder; the hub's cache keeps its files beside the folder.

    Args:
        path: A file whose name another file gave.

    Raises:
        CheckpointError: It leads out of the folder.
    """
    try:
        folder, target = path.parent.resolve(), path.resolve()
    except (OSError, RuntimeError) as error:  # links in a circle
        raise CheckpointError(f"file {path} cannot be read", got=one_line(error)) from error
    caches = [above.parent / "blobs" for above in folder.parents if above.name == "snapshots"]
    if not any(target.is_relative_to(place) for place in (folder, *caches)):
        raise CheckpointError(
            f"file {path} is a link that leaves its folder",
            expected=f"a file in {folder}",
            got=target,
            fix="Copy the file into the folder",
        )


def refuse_pointer(path: Path) -> None:
    """Refuse the few lines that Git leaves in the place of a large file.

    Raises:
        CheckpointError: The file is such a pointer, is no regular file, or cannot be read.
    """
    try:
        if not is_file(path):  # opening a pipe would wait for its other end
            raise FileNotFoundError(errno.ENOENT, "no such file")
        with path.open("rb") as file:
            start = file.read(len(_POINTER))
    except OSError as error:
        raise CheckpointError(f"file {path} cannot be read", got=error.strerror) from error
    if start == _POINTER:
        raise CheckpointError(
            f"file {path} is a Git LFS pointer",
            expected="the file itself",
            got="its address",
            fix="Run git lfs pull in its folder",
        )


def map_file(path: Path) -> mmap.mmap:
    """Map a file so that nothing is read before it is used and writing would not reach the disk.

    Raises:
        CheckpointError: It is no regular file, cannot be read, or stands for a file that is
            elsewhere.
        ValueError: It is empty.
    """
    refuse_pointer(path)
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except OSError as error:
        raise CheckpointError(f"file {path} cannot be read", got=error.strerror) from error


def release(mapped: mmap.mmap) -> None:
    """Let go of the memory behind a map; what is used again is read again."""
    mapped.madvise(mmap.MADV_DONTNEED)
