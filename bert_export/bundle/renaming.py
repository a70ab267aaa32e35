"""Renames in one step that ``os.rename`` cannot do: an exchange, and one that replaces nothing.

Linux has both as flags of ``renameat2``; not every file system knows them.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["exchange", "rename_new"]

_AT_FDCWD = -100
_NOREPLACE, _EXCHANGE = 1, 2
_UNKNOWN = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM}
"""What a kernel, a file system or a sandbox answers that does not know the flag."""


def exchange(one: Path, other: Path) -> bool:
    """Give each of two paths what stands at the other, so that at no instant one is missing.

    Returns:
        Whether it was done; not where the file system does not know how.

    Raises:
        OSError: One of them is not there, and the like.
    """
    return _renameat2(one, other, _EXCHANGE)


def rename_new(source: Path, target: Path) -> None:
    """Rename where nothing stands at the target.

    Raises:
        FileExistsError: Something stands there.
        OSError: The source is not there, and the like.
    """
    if _renameat2(source, target, _NOREPLACE):
        return
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    source.rename(target)


def _renameat2(source: Path, target: Path, flag: int) -> bool:
    """Whether it was done; not where the flag is unknown."""
    function = _find()
    if function is None:
        return False
    sys.audit("os.rename", str(source), str(target), -1, -1)  # as os.rename tells it
    if not function(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flag):
        return True
    number = ctypes.get_errno()
    if number in _UNKNOWN:
        return False
    raise OSError(number, os.strerror(number), str(source), None, str(target))


@cache
def _find() -> Any:
    """The C library's ``renameat2``; ``None`` where it has none."""
    try:
        function = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, TypeError, AttributeError):
        return None
    function.argtypes = (
        ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint
    )  # fmt: skip
    function.restype = ctypes.c_int
    return function
