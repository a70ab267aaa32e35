"""Work that is killed at a chosen moment, as a machine that runs out of memory would kill it."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable

__all__ = ["Child", "count_calls", "interrupt_at", "kill_after", "kill_at"]

_KINDS = ("os.", "shutil.", "fcntl.")


class Child:
    """Work in a process of its own, without the time of a start and its imports."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.code: int | None = None
        with warnings.catch_warnings():  # no thread of this process is in the middle of anything
            warnings.simplefilter("ignore", DeprecationWarning)
            self.process = os.fork()
        if not self.process:
            code = 1
            try:
                work()
                code = 0
            except BaseException:  # noqa: BLE001  it must not go on as if it were the parent
                traceback.print_exc()
            finally:
                os._exit(code)

    def wait(self) -> int:
        """The code with which it ends; negative is the signal that killed it."""
        if self.code is None:
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
        return self.code

    def is_alive(self) -> bool:
        """Whether it still works."""
        if self.code is None:
            process, status = os.waitpid(self.process, os.WNOHANG)
            if process:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code is None


def count_calls(work: Callable[[], object], *, of: str = "") -> int:
    """How many file-system calls some work makes in a process of its own.

    Args:
        work: What to do.
        of: Calls that name no path which holds this text do not count.
    """
    reader, writer = os.pipe()
    calls = 0

    def hear() -> None:
        nonlocal calls
        calls += 1

    def counted() -> None:
        _listen(hear, of)
        work()
        os.write(writer, f"{calls}".encode())

    try:
        code = Child(counted).wait()
        assert code == 0, f"ended with {code}"
        return int(os.read(reader, 20))
    finally:
        os.close(reader)
        os.close(writer)


def kill_at(number: int, work: Callable[[], object], *, of: str = "") -> bool:
    """Kill some work just before its file-system call of a number, counted from 1.

    Returns:
        Whether it was killed; it had ended before where not.
    """

    def killed() -> None:
        _send_at(number, signal.SIGKILL, of)
        work()

    return _was_killed(Child(killed).wait())


def interrupt_at(number: int, *, of: str = "") -> None:
    """Send this process a Ctrl-C before its file-system call of a number; see :func:`kill_at`."""
    _send_at(number, signal.SIGINT, of)


def kill_after(seconds: float, work: Callable[[], object]) -> bool:
    """Kill some work after a time; see :func:`kill_at`."""
    child = Child(work)
    time.sleep(seconds)
    os.kill(child.process, signal.SIGKILL)
    return _was_killed(child.wait())


def _send_at(number: int, what: signal.Signals, of: str) -> None:
    """Send this process a signal before its file-system call of a number; for ever."""
    left = number

    def hear() -> None:
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), what)

    _listen(hear, of)


def _listen(hear: Callable[[], None], of: str) -> None:
    """Call something before every file-system call of this process; for ever."""

    def told(event: str, arguments: tuple[object, ...]) -> None:
        if event != "open" and not event.startswith(_KINDS):
            return
        if event in ("os.fork", "os.putenv", "os.unsetenv", "os.kill"):
            return
        if not of or any(of in str(argument) for argument in arguments):
            hear()

    sys.addaudithook(told)


def _was_killed(code: int) -> bool:
    assert code in (0, -signal.SIGKILL), f"ended with {code}"
    return code != 0
