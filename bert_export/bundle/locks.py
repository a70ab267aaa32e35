"""Locks of files and folders (``flock``): the kernel opens them when their holder dies."""

from __future__ import annotations

import errno
import time

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

__all__ = ["LocksUnsupportedError", "lock"]

_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF}
_PAUSE = 0.005


class LocksUnsupportedError(OSError):
    """The file system knows no locks."""


def lock(descriptor: int, *, shared: bool = False, seconds: float = 0) -> bool:
    """Lock an open file or folder until it is closed.

    Args:
        descriptor: The open file's.
        shared: Whether others may lock it so too at the same time.
        seconds: How long to wait for others.

    Returns:
        Whether it is locked; not where others hold it all the time.

    Raises:
        LocksUnsupportedError: There are no locks here.
    """
    if fcntl is None:
        raise LocksUnsupportedError(errno.ENOSYS, "this system has no flock")
    end = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(_PAUSE)
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                raise LocksUnsupportedError(error.errno, error.strerror) from error
            raise
        else:
            return True
