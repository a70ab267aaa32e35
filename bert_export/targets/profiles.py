"""Optimization profiles: the batch sizes and lengths that an engine's kernels are chosen for.

A builder asks for the smallest, the usual and the largest size of every dynamic axis. One profile
from 1 to 512 tokens must serve both ends with the same kernels. With several profiles, one per
bucket of lengths, kernels are chosen for each bucket, but the engine is larger.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bert_export.bundle import TensorSpec
from bert_export.errors import InputError, shown
from bert_export.regular_files import read_regular_text

__all__ = [
    "BATCH_SIZES",
    "Profile",
    "Sizes",
    "make_profiles",
    "profiles_from_lengths",
    "read_lengths",
]

BATCH_SIZES = (1, 8, 64)
_CHOICES = (1, 4, 16)
_USUAL_LENGTH = 128
_MOST_BUCKETS = 3
_MOST = 1 << 20
_MOST_BYTES = 1 << 26
"""Largest size: its product with the longest row stays below 2**31."""
_NUMBER = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Sizes:
    """Smallest, usual and largest size of one axis.

    Raises:
        InputError: They are not in order; the smallest is below 0, or the usual one below 1.
    """

    least: int
    usual: int
    most: int

    def __post_init__(self) -> None:
        if not (0 <= self.least <= self.usual <= self.most and self.usual):
            raise InputError(
                "sizes are not in order",
                expected="0 <= smallest <= usual <= largest, and a usual one from 1",
                got=f"{self.least}, {self.usual}, {self.most}",
            )


@dataclass(frozen=True, slots=True)
class Profile:
    """Sizes of every dynamic axis, by the axis' name."""

    axes: Mapping[str, Sizes]

    def shapes(self, spec: TensorSpec) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Smallest, usual and largest shape of an input.

        Raises:
            InputError: The profile does not name one of its axes.
        """
        columns = []
        for axis in spec.shape:
            if isinstance(axis, str) and axis not in self.axes:
                raise InputError(
                    f"profile has no axis {axis} of input {spec.name}",
                    expected=", ".join(self.axes),
                    got=axis,
                )
            sizes = self.axes[axis] if isinstance(axis, str) else Sizes(axis, axis, axis)
            columns.append((sizes.least, sizes.usual, sizes.most))
        least, usual, most = zip(*columns, strict=True)
        return least, usual, most

    def record(self) -> dict[str, tuple[int, int, int]]:
        """As the manifest and the cache's key hold it."""
        return {
            axis: (sizes.least, sizes.usual, sizes.most)
            for axis, sizes in sorted(self.axes.items())
        }


def make_profiles(
    *,
    max_length: int,
    batch_sizes: Sequence[int] = (),
    lengths: Sequence[int] = (),
) -> tuple[Profile, ...]:
    """Profiles from sizes that a user named: one per length.

    Args:
        max_length: Longest row of the bundle, in tokens.
        batch_sizes: Rows per call, smallest to largest; the middle one is the usual one. 1, 8, 64
            when empty.
        lengths: Upper ends of the buckets, in tokens, each the usual length of its bucket. The
            bucket of the first begins at 1, every other behind the one before. One bucket up to
            ``max_length`` when empty.

    Raises:
        InputError: A size is below 1 or beyond all reason, or a length above ``max_length``.
    """
    if not lengths:
        usual = min(_USUAL_LENGTH, max_length)
        return (_profile(batch_sizes, Sizes(1, usual, max_length), max_length),)
    ends = _checked("lengths", lengths)
    if ends[-1] > max_length:
        raise InputError(
            f"length {ends[-1]} is too long",
            expected=f"at most {max_length} tokens, the bundle's longest row",
            got=ends[-1],
        )
    starts = [1, *(end + 1 for end in ends[:-1])]
    return tuple(
        _profile(batch_sizes, Sizes(start, end, end), max_length)
        for start, end in zip(starts, ends, strict=True)
    )


def profiles_from_lengths(
    histogram: Mapping[int, int],
    *,
    max_length: int,
    batch_sizes: Sequence[int] = (),
    buckets: int = _MOST_BUCKETS,
) -> tuple[Profile, ...]:
    """Profiles for a user's data: buckets that pad least, each with its median as usual length.

    Args:
        histogram: Texts by their length in tokens; longer ones than ``max_length`` are cut to it.
        max_length: Longest row of the bundle; the last bucket reaches it.
        batch_sizes: As in :func:`make_profiles`.
        buckets: How many at most.

    Raises:
        InputError: The histogram is empty, or a length or count is below 1.
    """
    cut: Counter[int] = Counter()
    for length, count in histogram.items():
        if length < 1 or count < 1:
            raise InputError(
                "histogram of lengths is not valid",
                expected="lengths and counts from 1",
                got=f"length {length}, count {count}",
            )
        cut[min(length, max_length)] += count
    if not cut:
        raise InputError("histogram of lengths is empty", expected="one length or more", got="none")
    ends = _least_padding(sorted(cut.items()), buckets)
    profiles = []
    start = 1
    for end in ends:
        usual = _median([(length, n) for length, n in cut.items() if start <= length <= end])
        last = max_length if end == ends[-1] else end
        profiles.append(_profile(batch_sizes, Sizes(start, usual, last), max_length))
        start = end + 1
    return tuple(profiles)


def read_lengths(path: Path) -> Counter[int]:
    """Read a histogram: a line holds a length, or a length and how many texts have it.

    Args:
        path: Text; numbers parted by a comma, a tab or spaces. A line that begins with ``#`` is a
            comment.

    Raises:
        InputError: The file is missing, or a line is not of that form.
    """
    try:
        lines = read_regular_text(path, most=_MOST_BYTES).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"length file {path} cannot be read", expected="a text file", got=error
        ) from error
    histogram: Counter[int] = Counter()
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.replace(",", " ").split()
        if len(fields) not in (1, 2) or not all(_NUMBER.fullmatch(field) for field in fields):
            raise InputError(
                f"length file {path}, line {number}, is malformed",
                expected="a length, or a length and a count",
                got=shown(line),
            )
        histogram[int(fields[0])] += int(fields[1]) if len(fields) == 2 else 1
    return histogram


def _profile(batch_sizes: Sequence[int], sequence: Sizes, max_length: int) -> Profile:
    sizes = _checked("batch sizes", batch_sizes or BATCH_SIZES)
    batch = Sizes(sizes[0], sizes[len(sizes) // 2], sizes[-1])
    masked = Sizes(1, batch.usual, batch.most * sequence.most)
    return Profile(
        {
            "batch": batch,
            "choices": Sizes(*_CHOICES),
            "masked": masked,
            "sequence": sequence,
            # A step's tokens follow any number of others, whatever the bucket of its own.
            "past": Sizes(0, min(_USUAL_LENGTH, max_length), max_length),
            "total": Sizes(1, min(_USUAL_LENGTH, max_length), max_length),
        }
    )


def _checked(what: str, sizes: Iterable[int]) -> list[int]:
    ordered = sorted(set(sizes))
    if ordered[0] < 1:
        raise InputError(f"{what} hold a size that is too small", expected="1", got=ordered[0])
    if ordered[-1] > _MOST:
        raise InputError(
            f"{what} hold a size that is too large", expected=f"at most {_MOST}", got=ordered[-1]
        )
    return ordered


def _least_padding(counts: Sequence[tuple[int, int]], buckets: int) -> list[int]:
    """Upper ends of the buckets into which all texts are padded with the fewest tokens.

    Exact, by dynamic programming over the lengths: ``best[i]`` is the least number of tokens for
    the first ``i`` lengths, in as many buckets as there were rounds.
    """
    totals = [0]
    for _, count in counts:
        totals.append(totals[-1] + count)
    best = [0.0] + [float("inf")] * len(counts)
    cuts: list[list[int]] = []
    for _ in range(min(buckets, len(counts))):
        following, cut = [0.0] + [float("inf")] * len(counts), [0] * (len(counts) + 1)
        for stop in range(1, len(counts) + 1):
            width = counts[stop - 1][0]
            for start in range(stop):
                tokens = best[start] + width * (totals[stop] - totals[start])
                if tokens < following[stop]:
                    following[stop], cut[stop] = tokens, start
        best = following
        cuts.append(cut)
    ends: list[int] = []
    stop = len(counts)
    for cut in reversed(cuts):
        if stop == 0:
            break
        ends.append(counts[stop - 1][0])
        stop = cut[stop]
    return ends[::-1]


def _median(counts: Iterable[tuple[int, int]]) -> int:
    ordered = sorted(counts)
    half = sum(count for _, count in ordered) / 2
    seen = 0
    for length, count in ordered:
        seen += count
        if seen >= half:
            return length
    return ordered[-1][0]
