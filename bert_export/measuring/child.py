"""The parent's side of a child that measures: ask it one thing at a time, and outlive it."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from bert_export.errors import MeasurementError
from bert_export.runtime.closing import Closing
from bert_export.telemetry import TELEMETRY_OFF

__all__ = ["PATIENCE", "Child", "Job", "call_apart", "pinned_environment"]

PATIENCE = 600.0
"""Seconds that a child may take for one answer."""

JOB_PATIENCE = 6 * 3600.0
"""Seconds that a job which is done once may take; a child that dies is noticed at once."""

_SERVING = Path(__file__).with_name("serving.py")
_BUFFER = 1 << 16
_TAIL_LINES = 4
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "RAYON_NUM_THREADS",
)

_SILENT = {**TELEMETRY_OFF, "CI": "true"}
"""For what imports an engine without :mod:`bert_export`; OpenVINO sends nothing under ``CI``."""


class Job(NamedTuple):
    """What a job in a process of its own gave, and what it took.

    Args:
        reply: A JSON object.
        seconds: From the start of the process to the reply.
        peak_bytes: The process's largest resident set.
    """

    reply: dict[str, Any]
    seconds: float
    peak_bytes: int


def pinned_environment(threads: int, *, python: str = sys.executable) -> dict[str, str]:
    """This process's environment with every thread pool pinned, and telemetry off.

    Args:
        threads: Of each pool.
        python: The interpreter that gets it; another one than ours gets no path of ours.
    """
    environment = {
        **_SILENT,
        **os.environ,
        **dict.fromkeys(_THREAD_VARIABLES, str(threads)),
    }
    if python != sys.executable:
        environment.pop("PYTHONPATH", None)
    return environment


class Child(Closing):
    """A worker in a process of its own; see :mod:`bert_export.measuring.serving`.

    It is in a session of its own, so that Ctrl-C reaches the parent alone, which then ends it; when
    the parent is gone, the end of its standard input ends it.

    Args:
        worker: A module's name, or a file.
        threads: Of every thread pool in it.
        cores: Processors that it is pinned to; free when empty.
        python: The interpreter, which may be one of another environment.
    """

    def __init__(
        self,
        worker: str | Path,
        *,
        threads: int,
        cores: Sequence[int] = (),
        python: str = sys.executable,
    ) -> None:
        self._name = worker.stem if isinstance(worker, Path) else worker.rpartition(".")[2]
        reading, writing = os.pipe()
        log = tempfile.TemporaryFile()  # noqa: SIM115  closed in close()
        self.started = time.monotonic()
        try:
            self._process = subprocess.Popen(  # noqa: S603  an interpreter, a file of ours
                [
                    *(python, str(_SERVING), str(worker), str(writing)),
                    ",".join(map(str, cores)) or "-",
                ],
                # The file's own folder stays off the path: its modules would hide others.
                env=pinned_environment(threads, python=python) | {"PYTHONSAFEPATH": "1"},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=(writing,),
                start_new_session=True,
            )
        except OSError as error:
            os.close(reading)
            log.close()
            raise MeasurementError(
                f"{self._name} cannot be started", expected="an interpreter", got=error
            ) from error
        finally:
            os.close(writing)
        self._log, self._channel = log, reading
        self._unread = b""

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def ask(self, do: str, /, *, patience: float = PATIENCE, **fields: Any) -> dict[str, Any]:
        """Send a request and wait for its reply.

        Args:
            do: An action of the service.
            patience: Seconds to wait.
            fields: Of the request, JSON values.

        Raises:
            MeasurementError: The child says what is wrong, dies, prints something else than a
                reply, or takes longer than ``patience`` seconds. In all but the first case it is
                dead afterwards, lest a late reply answers the next request.
        """
        assert self._process.stdin is not None, "it was opened as a pipe"
        try:
            self._process.stdin.write(msgspec.json.encode({"do": do, **fields}) + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._died() from None
        line = self._line(patience)
        try:
            answer = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.DecodeError as error:
            self._kill()
            raise MeasurementError(
                f"{self._name} answers with something else", expected="JSON", got=repr(line[:60])
            ) from error
        if "error" in answer:
            raise MeasurementError(answer["error"].rstrip("."))
        return answer

    def close(self) -> None:
        """End the process, whatever it does."""
        with contextlib.suppress(BrokenPipeError):
            assert self._process.stdin is not None, "it was opened as a pipe"
            self._process.stdin.close()
        self._kill()
        os.close(self._channel)
        self._log.close()

    def _line(self, patience: float) -> bytes:
        """The next line that the child writes."""
        deadline = time.monotonic() + patience
        while b"\n" not in self._unread:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._channel], [], [], left)[0]:
                self._kill()
                raise MeasurementError(
                    f"{self._name} does not answer", expected=f"a reply within {patience:g} s"
                )
            read = os.read(self._channel, _BUFFER)
            if not read:
                raise self._died()
            self._unread += read
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def _died(self) -> MeasurementError:
        status = self._process.wait()
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").strip().splitlines()
        words = " ".join(" ".join(lines[-_TAIL_LINES:]).split()) or "it printed nothing"
        return MeasurementError(
            f"{self._name} ended with status {status}", expected="a reply", got=words
        )


def call_apart(
    worker: str | Path,
    function: str,
    request: Mapping[str, Any],
    *,
    threads: int,
    python: str = sys.executable,
    patience: float = JOB_PATIENCE,
) -> Job:
    """Call one function of a worker in a process of its own, which ends with it.

    Args:
        worker: See :class:`Child`, as for ``threads`` and ``python``.
        function: Takes the request and gives the reply.
        request: A JSON object.
        threads: Of every thread pool.
        python: The interpreter.
        patience: Seconds to wait at most.

    Raises:
        MeasurementError: The job failed; it says why.
    """
    with Child(worker, threads=threads, python=python) as child:
        answer = child.ask("call", function=function, request=request, patience=patience)
        return Job(answer["reply"], answer["ended"] - child.started, answer["peak_bytes"])
