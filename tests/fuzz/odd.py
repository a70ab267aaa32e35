"""Cases that do all that must not be done, for the frame that has to tell."""

from __future__ import annotations

import os
from pathlib import Path

from bert_export.errors import InputError
from tests.fuzz.frame import Fuzz

__all__ = ["Odd", "Waiting"]


class Odd(Fuzz):
    """Answers, refuses, and does in turn all that must not be done."""

    seconds = 0.2

    def case(self, number: int, chance: object) -> None:
        (
            lambda: None, self._refuse, self._fail, self._crash, self._open, self._spin, self._speak
        )[number % 7]()  # fmt: skip

    def _refuse(self) -> None:
        raise InputError("file /a/b is malformed")

    def _fail(self) -> None:
        raise KeyError("x")

    def _crash(self) -> None:
        if self._is_child():
            os.abort()

    def _open(self) -> None:
        Path("/etc/hostname").read_bytes()

    def _spin(self) -> None:
        while self._is_child():
            try:
                sum(range(1000))
            except Exception:  # noqa: BLE001, S112  as a library that hides what stops it
                continue

    def _speak(self) -> None:
        error = InputError("")
        error.args = ("line one\nline two",)
        raise error

    def _is_child(self) -> bool:
        return os.getpid() != self.parent

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.parent = os.getpid()


class Waiting(Odd):
    """Waits for ever in its second case."""

    hangs_after = 0.5

    def case(self, number: int, chance: object) -> None:
        if self._is_child() and number == 1:
            os.read(os.pipe()[0], 1)
