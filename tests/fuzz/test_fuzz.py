"""A short run of every kind of hostile input; ``python -m tests.fuzz`` runs long ones."""

from __future__ import annotations

import copy
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from random import Random

import pytest

from bert_export.errors import InputError
from tests.fuzz.damage import damage, damage_json, hostile_text
from tests.fuzz.frame import Fuzz, run
from tests.fuzz.kinds import KINDS

SHORT = {"texts": 600, "bundles": 60, "checkpoints": 160, "kills": 3}


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_a_short_run_finds_nothing(kind: str) -> None:
    # A process of its own: cases run in forks of it, which threads of other tests would disturb.
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", kind, "--count", str(SHORT[kind])],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    said = re.search(
        rf"^{kind}: (\d+) cases, (\d+) answered, (\d+) refused", done.stdout, re.MULTILINE
    )
    assert said is not None, done.stdout
    count, answered, refused = map(int, said.groups())
    assert count == SHORT[kind] == answered + refused
    assert answered > 0.05 * count
    assert kind == "kills" or refused > 0.05 * count


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


def test_the_frame_tells_what_came_of_each_case(capfd: pytest.CaptureFixture[str]) -> None:
    tally = run("odd", Odd, count=14, seed=3)
    assert (tally.count, tally.answered, tally.refused.total()) == (14, 2, 2)
    assert dict(tally.refused) == {"file # is malformed.": 2}
    by_number = {int(finding.split()[1]): finding for finding in tally.findings}
    assert sorted(by_number) == [2, 3, 4, 5, 6, 9, 10, 11, 12, 13]
    assert "KeyError: 'x'" in by_number[2]
    assert "the process ended with -6" in by_number[3]
    assert "opened ['/etc/hostname'] outside of its folder" in by_number[4]
    assert "_TooLongError" in by_number[5]
    assert "a message of 17 characters" in by_number[6]
    assert "Fatal Python error: Aborted" in capfd.readouterr().err


def test_a_case_is_found_again_by_its_number() -> None:
    tally = run("odd", Odd, count=1, seed=3, first=9)
    assert len(tally.findings) == 1
    assert tally.findings[0].startswith("case 9 of seed 3")


def test_a_hang_is_a_finding() -> None:
    class Waiting(Odd):
        hangs_after = 0.5

        def case(self, number: int, chance: object) -> None:
            if self._is_child() and number == 1:
                os.read(os.pipe()[0], 1)

    tally = run("waiting", Waiting, count=3, seed=0)
    assert tally.answered == 2
    assert tally.findings == ["case 1 of seed 0: hangs for 0.5 s"]


@pytest.mark.parametrize("seed", range(20))
def test_damage_is_the_same_for_the_same_chance(seed: int) -> None:
    value = {"a": [1, "x", {"b": None}], "c": 2.5}
    before = copy.deepcopy(value)
    changes = (partial(damage, bytes(range(256))), partial(damage_json, value), hostile_text)
    for change in changes:
        assert repr(change(Random(seed))) == repr(change(Random(seed)))
    assert value == before
