"""What becomes of an engine where its process forks.

A forked child has the engines of its parent, and none of their threads. Two things follow:

- Freeing an engine waits for its threads, in the child for ever: the child would hang when it ends.
  So the child frees none that it did not open itself.
- Calling one works in ONNX Runtime, where the calling thread does all the work, on one core. In
  OpenVINO it may wait for ever, and on a GPU it fails. They refuse it with an error.

A server that forks (gunicorn with ``--preload``, ``multiprocessing`` with ``fork``) best loads its
bundle in each process, after the fork. No thread of it may be in the middle of a call meanwhile.
"""

from __future__ import annotations

import ctypes
import os
from abc import abstractmethod
from typing import Any, Protocol
from weakref import WeakSet

from bert_export.errors import InputError

__all__ = ["Forkable", "refuse_after_fork", "survive_fork"]


class Forkable(Protocol):
    """A session that holds an engine.

    Attributes:
        process: That opened it.
    """

    process: int = 0

    @abstractmethod
    def held(self) -> list[Any]:
        """The engine's own objects, which a forked child must not free."""
        ...


_open: WeakSet[Forkable] = WeakSet()


def survive_fork(session: Forkable) -> None:
    """Remember a session that was just opened, so that a forked child can end."""
    session.process = os.getpid()
    _open.add(session)


def refuse_after_fork(session: Forkable) -> None:
    """Refuse a call in a process that forked after the session was opened.

    Raises:
        InputError: This is another process.
    """
    if session.process != os.getpid():
        raise InputError(
            "session was opened before this process was forked",
            expected="a session of this process: the engine's threads are in the other",
            got=f"one of process {session.process}",
            fix="Load the bundle after the fork, or start processes with the method spawn",
        )


def _never_free() -> None:
    for session in _open:
        for part in session.held():
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(part))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_never_free)
