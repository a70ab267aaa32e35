"""The stages of an export as a listener hears them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["Fact", "Listener", "Progress", "SilentListener", "Stage"]

Fact = int | float | str

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stage:
    """One finished stage of an export.

    Args:
        name: Such as ``trace`` or ``verify``.
        seconds: Wall time.
        facts: What a reader wants to know of it: ``size`` in bytes, ``difference``, ``agreement``.
    """

    name: str
    seconds: float
    facts: Mapping[str, Fact] = field(default_factory=dict)


class Listener(Protocol):
    """Hears how an export proceeds; the command line draws it."""

    def start(self, stage: str) -> None:
        """A stage begins."""
        ...

    def advance(self, done: int, total: int) -> None:
        """The running stage has done so much of its work."""
        ...

    def finish(self, stage: Stage) -> None:
        """The running stage has ended; a stage that fails does not."""
        ...


class SilentListener:
    """Hears everything and says nothing."""

    def start(self, stage: str) -> None:
        """Say nothing."""

    def advance(self, done: int, total: int) -> None:
        """Say nothing."""

    def finish(self, stage: Stage) -> None:
        """Say nothing."""


class Progress:
    """Times the stages of one export and tells a listener.

    Args:
        listener: Hears of every stage; nobody does when ``None``.

    Attributes:
        stages: Those that have finished, in order.
    """

    def __init__(self, listener: Listener | None = None) -> None:
        self._listener = SilentListener() if listener is None else listener
        self.stages: list[Stage] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[dict[str, Fact]]:
        """Time what is done inside; facts that are put into the yielded mapping are told too."""
        self._listener.start(name)
        facts: dict[str, Fact] = {}
        start = time.perf_counter()
        yield facts
        stage = Stage(name, time.perf_counter() - start, facts)
        self.stages.append(stage)
        _LOGGER.info("stage %s took %.2f s: %s", name, stage.seconds, facts)
        self._listener.finish(stage)

    def seconds(self) -> dict[str, float]:
        """Wall time by stage, to a tenth; of stages of one name, the sum."""
        names = dict.fromkeys(stage.name for stage in self.stages)
        return {
            name: round(sum(stage.seconds for stage in self.stages if stage.name == name), 1)
            for name in names
        }

    def advance(self, done: int, total: int) -> None:
        """Tell how much of the running stage is done."""
        self._listener.advance(done, total)
