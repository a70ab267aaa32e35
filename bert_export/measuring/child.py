"""The parent's side of a child that measures: ask it one thing at a time, and outlive it."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import msgspec

from bert_export.errors import MeasurementError

__all__ = ["PATIENCE", "Child", "pinned_environment"]

PATIENCE = 600.0
"""Seconds that a child may take for one answer."""

_BUFFER = 1 << 16
_TAIL_LINES = 4
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "RAYON_NUM_THREADS",
)


def pinned_environment(threads: int) -> dict[str, str]:
    """This process's environment with every thread pool pinned."""
    return {**os.environ, **dict.fromkeys(_THREAD_VARIABLES, str(threads))}


class Child:
    """A Python module running in a process of its own, answering JSON lines.

    It is in a session of its own, so that Ctrl-C reaches the parent alone, which then ends it; when
    the parent is gone, the end of its standard input ends it.

    Args:
        module: Run with ``-m``; it takes the descriptor of its replies as its argument.
        threads: Of every thread pool in it.
    """

    def __init__(self, module: str, *, threads: int) -> None:
        self._name = module.rpartition(".")[2]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed in close()
        self._channel, writing = os.pipe()
        self.started = time.monotonic()
        self._process = subprocess.Popen(  # noqa: S603  this interpreter, a module of ours
            [sys.executable, "-P", "-m", module, str(writing)],
            env=pinned_environment(threads),
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            pass_fds=(writing,),
            start_new_session=True,
        )
        os.close(writing)
        self._unread = b""

    def ask(self, request: Mapping[str, Any], *, patience: float = PATIENCE) -> dict[str, Any]:
        """Send a request and wait for its reply.

        Raises:
            MeasurementError: The child says what is wrong, dies, or takes longer than ``patience``
                seconds; then it is killed, lest its late reply answer the next request.
        """
        assert self._process.stdin is not None, "it was opened as a pipe"
        try:
            self._process.stdin.write(msgspec.json.encode(request) + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._died() from None
        return self.reply(patience=patience)

    def reply(self, *, patience: float = PATIENCE) -> dict[str, Any]:
        """Wait for the next reply; see :meth:`ask`."""
        deadline = time.monotonic() + patience
        while b"\n" not in self._unread:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._channel], [], [], left)[0]:
                self._process.kill()
                self._process.wait()
                raise MeasurementError(
                    f"{self._name} does not answer", expected=f"a reply within {patience:g} s"
                )
            read = os.read(self._channel, _BUFFER)
            if not read:
                raise self._died()
            self._unread += read
        line, _, self._unread = self._unread.partition(b"\n")
        answer: dict[str, Any] = msgspec.json.decode(line)
        if "error" in answer:
            raise MeasurementError(answer["error"].rstrip("."))
        return answer

    def close(self) -> None:
        """End the process, whatever it does."""
        with contextlib.suppress(BrokenPipeError):
            assert self._process.stdin is not None, "it was opened as a pipe"
            self._process.stdin.close()
        self._process.kill()
        self._process.wait()
        os.close(self._channel)
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _died(self) -> MeasurementError:
        status = self._process.wait()
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()
        words = " ".join(" ".join(lines[-_TAIL_LINES:]).split()) or "it printed nothing"
        return MeasurementError(
            f"{self._name} ended with status {status}", expected="a reply", got=words
        )
