"""A trie in three arrays, so that a graph walks it by additions and comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Trie", "build_trie"]

_NONE = -1
_WINDOW = 512


@dataclass(frozen=True, slots=True)
class Trie:
    """A double-array trie: the child of ``state`` for ``code`` is ``base[state] + code``.

    That place belongs to ``state`` where ``owner`` says so; there is no such child otherwise.

    Args:
        table: int32 (states, 3): owner, base, and the value of a word that ends there or -1.
        roots: First states, by name.
        lengths: Codes of the longest word at each root.
        first: The codes that words begin with, by root.

    Source: Aoe 1989, "An Efficient Digital Search Algorithm by Using a Double-Array Structure".
    """

    table: NDArray[np.int32]
    roots: dict[str, int]
    lengths: dict[str, int]
    first: dict[str, tuple[int, ...]]

    def longest(self, *roots: str) -> int:
        """Codes of the longest word at these roots; at all of them where none is named."""
        return max((self.lengths[root] for root in roots or self.lengths), default=0)


@dataclass(slots=True)
class _Node:
    value: int = _NONE
    children: dict[int, _Node] = field(default_factory=dict)


def build_trie(words: Mapping[str, Mapping[tuple[int, ...], int]], size: int) -> Trie:
    """Build one trie with several roots.

    Args:
        words: By root, then codes of each word with its value.
        size: One above the largest code.
    """
    roots: dict[str, _Node] = {}
    for name, entries in words.items():
        roots[name] = _Node()
        for codes, value in entries.items():
            node = roots[name]
            for code in codes:
                node = node.children.setdefault(code, _Node())
            node.value = value
    table, states = _place(list(roots.values()), size)
    return Trie(
        table,
        dict(zip(roots, states, strict=True)),
        {name: max(map(len, entries), default=0) for name, entries in words.items()},
        {name: tuple(node.children) for name, node in roots.items()},
    )


def _place(roots: Sequence[_Node], size: int) -> tuple[NDArray[np.int32], list[int]]:
    """Give every node a place: those with several children first, while there is room."""
    nodes = list(roots)
    for node in nodes:  # grows as it is read
        nodes.extend(node.children.values())
    capacity = 2 * len(nodes) + 4 * size + 2 * _WINDOW
    free = np.ones(capacity, np.bool_)
    free[: len(roots) + 1] = False  # state 0 leads nowhere, then the roots
    bases: dict[int, int] = {}
    parents = sorted(nodes, key=lambda node: -len(node.children))
    forks = [node for node in parents if len(node.children) > 1]
    start, children = 0, 0
    for node in forks:
        codes = np.fromiter(node.children, np.int64)
        if len(codes) != children:  # what had no room for one fork has none for the next like it
            start, children = int(np.argmax(free)), len(codes)
        bases[id(node)] = base = _find_base(free, codes, start)
        start = base + int(codes[0])
        free[base + codes] = False
    # An only child fits anywhere; its base must not be negative.
    places = iter((np.flatnonzero(free[size:]) + size).tolist())
    for node in parents:
        if len(node.children) == 1:
            (code,) = node.children
            place = next(places)
            bases[id(node)], free[place] = place - code, False
    table = np.zeros((capacity, 3), np.int32)
    table[:, 0] = table[:, 2] = _NONE
    states = {id(node): index for index, node in enumerate(roots, 1)}
    for node in nodes:
        state, base = states[id(node)], bases.get(id(node), 0)
        table[state, 1:] = base, node.value
        for code, child in node.children.items():
            states[id(child)] = base + code
            table[base + code, 0] = state
    end = int(np.flatnonzero(~free)[-1]) + 1 + size  # a walk may look beyond the last state
    return table[:end], [states[id(node)] for node in roots]


def _find_base(free: NDArray[np.bool_], codes: NDArray[np.int64], start: int) -> int:
    """The lowest base whose places for all codes are free; the first is at ``start`` or later."""
    rarest, others = codes[0], codes[1:]
    start = max(start, int(codes.max()))
    while True:
        window = free[start : start + _WINDOW]
        bases = np.flatnonzero(window) + (start - rarest)
        for code in others:
            bases = bases[free[bases + code]]
        if len(bases):
            return int(bases[0])
        start += _WINDOW
