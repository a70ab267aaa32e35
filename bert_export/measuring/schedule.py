"""Whose turn it is, and how many calls the turn has.

Contenders take turns so short that whatever the machine does for a second or more happens to all of
them. A *round* has a turn of each. Two rounds make a *lap*: the second goes through the first one's
order backwards (A B C, C B A), so that a speed that rises or falls steadily during the lap adds as
much to one round's ratios as it takes from the other's. Each lap draws a new order, so that no
contender always follows the same one. A contender whose calls are longer than a turn sits laps out.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from typing import TypeVar

__all__ = ["TURN_SECONDS", "laps", "turn_calls"]

TURN_SECONDS = 0.2
"""A turn takes so long at most, unless a single call is longer."""

Name = TypeVar("Name", str, int)

_USUAL_SECONDS = 0.05
_LEAST_CALLS, _MOST_CALLS = 3, 500


def laps(names: Sequence[Name], chance: random.Random) -> Iterator[tuple[Name, ...]]:
    """Orders of the rounds, without end: a drawn one, the same backwards, a new one, ...

    Args:
        names: Of the contenders.
        chance: Source of the orders.
    """
    while True:
        order = tuple(chance.sample(names, len(names)))
        yield order
        yield order[::-1]


def turn_calls(seconds: float) -> tuple[int, int]:
    """Calls of a turn that are clocked, and calls before them that only warm the caches up.

    Args:
        seconds: That one call takes.

    Returns:
        Of short calls as many as make a twentieth of a second, at least three, after one that warms
        up; of calls that hardly fit into :data:`TURN_SECONDS` one, which is long enough to warm up
        by itself.
    """
    fitting = math.floor(TURN_SECONDS / max(seconds, 1e-9))
    if fitting < 2:
        return 1, 0
    usual = max(_LEAST_CALLS, math.ceil(_USUAL_SECONDS / max(seconds, 1e-9)))
    return min(usual, fitting - 1, _MOST_CALLS), 1
