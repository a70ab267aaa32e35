"""Replace bundles, killed or interrupted before each call that touches files: nothing is lost.

    python -m tests.bundle.killed_replacements one-step|two-steps

``two-steps`` is as on a file system that cannot exchange two folders.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bert_export.bundle import read_bundle, read_steadily, renaming, replace_folder
from tests.bundle.small import write_small
from tests.kills import Child, count_calls, interrupt_at, kill_at

__all__ = ["replace", "weights_of"]


def replace(place: Path, *, force: bool, weights: bytes = b"new") -> None:
    """Put a bundle with such weights in a place."""
    with replace_folder(place, force=force) as work:
        write_small(work, weights=weights)


def weights_of(place: Path) -> bytes:
    """The weights of a whole bundle."""
    read_bundle(place)
    return (place / "weights.data").read_bytes()


def set_up(place: Path) -> None:
    """An old bundle, with files beside it that are not its own."""
    place.mkdir(parents=True)
    write_small(place, weights=b"old")
    (place / "letter").write_text("dear")
    (place / "letters").mkdir()
    (place / "letters" / "first").write_text("dearest")


def check_strays(place: Path) -> None:
    """The user's files are where they were."""
    assert (place / "letter").read_text() == "dear"
    assert (place / "letters" / "first").read_text() == "dearest"


def places_with_a_bundle(folder: Path) -> Iterator[tuple[int, Path]]:
    """The number of each call of replacing a bundle, and a place where an old one stands."""
    place = folder / "count" / "out"
    set_up(place)
    for number in range(1, count_calls(partial(replace, place, force=True)) + 1):
        place = folder / f"{number}" / "out"
        set_up(place)
        yield number, place


def kill_where_a_bundle_stands(folder: Path, *, in_one_step: bool) -> int:
    """The old or the new bundle is there, whole, and the next command finds all in order."""
    seen = set()
    for number, place in places_with_a_bundle(folder):
        assert kill_at(number, partial(replace, place, force=True))
        if in_one_step:
            seen.add(weights_of(place))
        # A service that starts, then the next command: for this place, or another beside it.
        seen.add(read_steadily(place, partial(weights_of, place)))
        check_strays(place)
        if number % 2:
            replace(place, force=True, weights=b"next")
            assert weights_of(place) == b"next"
        else:
            replace(place.with_name("other"), force=False)
            shutil.rmtree(place.with_name("other"))
        check_strays(place)
        assert [path.name for path in place.parent.iterdir()] == ["out"], number
    assert seen == {b"old", b"new"}, seen
    return number


def kill_where_none_stands(folder: Path) -> int:
    """The new bundle is there, whole, or none."""
    folder.mkdir()
    place = folder / "count" / "deep" / "out"
    calls = count_calls(partial(replace, place, force=False))
    seen = set()
    for number in range(1, calls + 1):
        place = folder / f"{number}" / "deep" / "out"
        assert kill_at(number, partial(replace, place, force=False))
        if place.exists():
            assert weights_of(place) == b"new"
        seen.add(place.exists())
        replace(place, force=place.exists(), weights=b"next")
        assert weights_of(place) == b"next"
        assert [path.name for path in place.parent.iterdir()] == ["out"], number
    assert seen == {True, False}, seen
    return calls


def interrupt_where_a_bundle_stands(folder: Path) -> None:
    """The old or the new bundle is there, whole, and nothing beside it."""
    seen = set()
    for number, place in places_with_a_bundle(folder):

        def interrupted(place: Path = place, number: int = number) -> None:
            interrupt_at(number)
            try:
                replace(place, force=True)
            except KeyboardInterrupt:
                os._exit(130)

        assert Child(interrupted).wait() == 130, number
        seen.add(weights_of(place))
        check_strays(place)
        assert [path.name for path in place.parent.iterdir()] == ["out"], number
    assert seen == {b"old", b"new"}, seen


def main(steps: str) -> None:
    """Kill both kinds of replacements at every call, and interrupt one of them."""
    if steps == "two-steps":
        renaming._find = lambda: None
    with tempfile.TemporaryDirectory() as folder:
        old = kill_where_a_bundle_stands(Path(folder) / "old", in_one_step=steps == "one-step")
        new = kill_where_none_stands(Path(folder) / "new")
        interrupt_where_a_bundle_stands(Path(folder) / "interrupted")
    print(f"{steps}: killed {old} times where a bundle stood, {new} times where none did")  # noqa: T201
    assert old > 50
    assert new > 20


if __name__ == "__main__":
    main(*sys.argv[1:])
