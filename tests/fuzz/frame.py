"""Runs hostile cases under limits of time, memory and files, and keeps count of what came of them.

Cases run in a process of its own: one that crashes or hangs is a finding like any other, and the
next case follows. A case is found again by its seed and number.
"""

from __future__ import annotations

import faulthandler
import json
import mmap
import os
import random
import re
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from bert_export.errors import BertExportError
from tests.kills import Child

__all__ = ["Fuzz", "Tally", "run"]

_LONGEST_MESSAGE = 2000
_START = struct.Struct("q")


class Fuzz(ABC):
    """A kind of hostile input.

    Args:
        folder: An empty one, to work in.
    """

    seconds = 10.0
    """Of the processor, that a case may take."""
    hangs_after = 120.0
    """Seconds of the clock after which a case is killed that does not even take the processor."""
    memory: int | None = None
    """Bytes that the process may take more than at its start; any number when ``None``."""
    parts: tuple[str, ...] = ()
    """Of which the cases are in turn, where there are several."""
    part: str | None = None
    """The only one of them that is tried; all when ``None``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def case(self, number: int, chance: random.Random) -> None:
        """Run one case.

        Raises:
            BertExportError: It was refused.
        """


@dataclass
class Tally:
    """What came of all cases of a kind."""

    name: str
    count: int
    answered: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.count} cases, {self.answered} answered, "
            f"{self.refused.total()} refused in {len(self.refused)} ways, "
            f"{len(self.findings)} findings, {self.seconds:.0f} s"
        )


class _TooLongError(BaseException):
    """No ``except Exception`` may take it for a failure of a file."""


def run(name: str, kind: type[Fuzz], *, count: int, seed: int, first: int = 0) -> Tally:
    """Run the cases ``first`` to ``first + count - 1`` of a seed."""
    tally = Tally(name, count)
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz") as place:
        # What the cases share is made once, here; and what is imported late is imported.
        folder = Path(place).resolve()
        (folder / "work").mkdir()
        subject = kind(folder / "work")
        for number in range(3):
            _outcome(subject, number, -1)
        progress = mmap.mmap(-1, _START.size)
        results = folder / "results"
        last = first + count
        while first < last:
            progress[:] = _START.pack(first)
            child = Child(
                lambda start=first: _run_cases(subject, start, last, seed, progress, results)
            )
            reason = _watch(child, progress, kind.hangs_after)
            (number,) = _START.unpack(progress[:])
            if reason is not None:
                tally.findings.append(f"case {number} of seed {seed}: {reason}")
            first = number + 1
        _read(results, tally)
    tally.seconds = time.monotonic() - start
    return tally


def _watch(child: Child, progress: mmap.mmap, seconds: float) -> str | None:
    """Wait for the end of a process; what ended it before its last case, if anything did."""
    before, since = b"", time.monotonic()
    while child.is_alive():
        if progress[:] != before:
            before, since = progress[:], time.monotonic()
        if time.monotonic() - since > seconds:
            os.kill(child.process, signal.SIGKILL)
            child.wait()
            return f"hangs for {seconds:g} s"
        time.sleep(0.02)
    if child.code == 0:
        return None
    return f"the process ended with {child.code}"


def _run_cases(
    subject: Fuzz, first: int, last: int, seed: int, progress: mmap.mmap, results: Path
) -> None:
    """Run cases in this process, and write a line for each."""
    faulthandler.enable()
    signal.signal(signal.SIGPROF, _too_long)
    opened = _listen(subject.folder)
    with results.open("ab", buffering=0) as file:  # before the limit of memory
        if subject.memory is not None:
            limit = _size() + subject.memory
            resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        for number in range(first, last):
            progress[:] = _START.pack(number)
            opened.clear()
            kind, text = _outcome(subject, number, seed)
            if opened and kind != "finding":
                kind, text = "finding", f"opened {sorted(set(opened))} outside of its folder"
            file.write(json.dumps([number, seed, kind, text]).encode() + b"\n")


def _outcome(subject: Fuzz, number: int, seed: int) -> tuple[str, str]:
    """Run one case: ``answered``, ``refused`` or ``finding``, and what was said."""
    try:
        with _timed(subject.seconds):
            subject.case(number, random.Random(f"{seed} {number}"))
    except BertExportError as error:
        text = str(error)
        if len(text) > _LONGEST_MESSAGE or not text.isprintable():
            return "finding", f"a message of {len(text)} characters: {text[:300]!r}"
        return "refused", text
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001  whatever it is, it is what is looked for
        return "finding", traceback.format_exc()
    return "answered", ""


@contextmanager
def _timed(seconds: float) -> Iterator[None]:
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _too_long(_signal: int, _frame: FrameType | None) -> None:
    raise _TooLongError


def _listen(folder: Path) -> list[str]:
    """Files that this process opens from here on, but for those of ``folder`` and of programs."""
    own = [Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[2]]
    allowed = tuple(f"{path.resolve()}/" for path in (folder, *own))
    system = ("/proc/", "/sys/", "/usr/", "/lib", "/dev/null", "/dev/urandom")
    opened: list[str] = []

    def told(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str | bytes):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            if not f"{path}/".startswith((*allowed, *system)):
                opened.append(path)

    sys.addaudithook(told)
    return opened


def _size() -> int:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    found = re.search(r"VmSize:\s*(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


def _read(results: Path, tally: Tally) -> None:
    """Count the lines that the cases wrote."""
    if not results.exists():
        return
    for line in results.read_text(encoding="utf-8").splitlines():
        number, seed, kind, text = json.loads(line)
        if kind == "answered":
            tally.answered += 1
        elif kind == "refused":
            start = text.split(": expected")[0]
            tally.refused[re.sub(r"[0-9]+|'[^']*'|/\S+", "#", start)[:60]] += 1
        else:
            tally.findings.append(f"case {number} of seed {seed}: {text}")
