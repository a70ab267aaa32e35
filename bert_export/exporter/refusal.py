"""What becomes of a target that cannot be served: the end of the export, or a reason beside others.

A user who names targets wants them all, so the first refusal is the export's error. ``--target
auto`` takes what there is: a target that is refused is left out, and the manifest says why. So is
one that an export which names none adds by itself, and the command says why.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TypeVar

from bert_export.errors import (
    BertExportError,
    BudgetError,
    BundleError,
    MissingExtraError,
    TargetError,
    VerificationError,
)
from bert_export.targets import Target

__all__ = ["REFUSALS", "Refusal", "Refusals"]

REFUSALS = (BudgetError, BundleError, MissingExtraError, TargetError, VerificationError)
"""Errors that are about one target, so that others may still be served."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A target that cannot be served, and the error that says why."""

    target: str
    error: BertExportError


class Refusals:
    """Runs a stage's step for every target, and keeps account of those that are refused.

    Args:
        tolerated: Whether an export goes on without a target that is refused; or the names of
            those without which it does.

    Attributes:
        refusals: Of the targets that were left out so far, in order.
    """

    def __init__(self, *, tolerated: bool | Collection[str] = False) -> None:
        self._tolerated = tolerated
        self.refusals: list[Refusal] = []

    def tolerates(self, target: Target) -> bool:
        """Whether the export goes on where this target is refused."""
        if isinstance(self._tolerated, bool):
            return self._tolerated
        return target.name in self._tolerated

    def each(
        self, targets: Iterable[Target], step: Callable[[Target], Result]
    ) -> dict[str, Result]:
        """The step's result by target; targets that it refuses are left out.

        Raises:
            BertExportError: A target is refused and that is not tolerated, or none is left.
        """
        results: dict[str, Result] = {}
        for target in targets:
            try:
                results[target.name] = step(target)
            except REFUSALS as error:
                self.add(target, error)
        if not results and self.refusals:
            raise self.refusals[-1].error
        return results

    def add(self, target: Target, error: BertExportError) -> None:
        """Leave a target out.

        Raises:
            BertExportError: That is not tolerated; it is ``error``.
        """
        if not self.tolerates(target):
            raise error
        self.refusals.append(Refusal(target.name, error))
