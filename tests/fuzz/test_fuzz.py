"""A short run of every kind of hostile input; ``python -m tests.fuzz`` runs long ones."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.damage import damage, damage_json, hostile_text
from tests.fuzz.frame import Fuzz, Tally, run
from tests.fuzz.kinds import KINDS
from tests.fuzz.odd import Odd, Waiting

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


def run_alone(name: str, kind: type[Fuzz], *, count: int, seed: int, first: int = 0) -> Tally:
    """Run cases from a new process: its forks find no threads and no handlers of other tests."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(run, name, kind, count=count, seed=seed, first=first).result()


def test_the_frame_tells_what_came_of_each_case(capfd: pytest.CaptureFixture[str]) -> None:
    tally = run_alone("odd", Odd, count=14, seed=3)
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
    tally = run_alone("odd", Odd, count=1, seed=3, first=9)
    assert len(tally.findings) == 1
    assert tally.findings[0].startswith("case 9 of seed 3")


def test_a_hang_is_a_finding() -> None:
    tally = run_alone("waiting", Waiting, count=3, seed=0)
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
