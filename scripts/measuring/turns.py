"""Contenders take turns, so that a machine's mood hits all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from measuring.figures import Samples

__all__ = ["Contender", "interleave", "take_turns"]


@dataclass(frozen=True, slots=True)
class Contender:
    """Something that is measured.

    Args:
        name: As tables show it.
        measure: One turn in a process of its own: figures by name.
    """

    name: str
    measure: Callable[[], Mapping[str, float]]


def interleave(names: Sequence[str], rounds: int) -> Iterator[tuple[int, str]]:
    """The order of turns: A B C, A B C, ...; yields (round from 0, name)."""
    return ((turn, name) for turn in range(rounds) for name in names)


def take_turns(
    contenders: Sequence[Contender],
    *,
    rounds: int,
    warm_up: bool = False,
    announce: Callable[[str], None] | None = None,
) -> dict[str, Samples]:
    """Measure contenders in interleaved turns.

    Args:
        contenders: Of distinct names.
        rounds: Turns of each that count.
        warm_up: Whether each has a turn before them that does not count, which fills the caches of
            files and of byte code.
        announce: Called with the contender's name before each turn.

    Returns:
        Every contender's figures, in the order of the rounds.
    """
    by_name = {contender.name: contender for contender in contenders}
    samples = {name: Samples() for name in by_name}
    first_counted = 1 if warm_up else 0
    for turn, name in interleave(list(by_name), rounds + first_counted):
        if announce is not None:
            announce(name)
        figures = by_name[name].measure()
        if turn >= first_counted:
            samples[name].add(figures)
    return samples
