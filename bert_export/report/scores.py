"""A variant's score, taken in a child so that a crashing engine costs a row and no more.

``python -m bert_export.report.scores REQUEST CHANNEL``; the reply holds a :class:`Score`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from bert_export.measuring.child import Child
from bert_export.measuring.once import answer_once
from bert_export.report.schema import Score

__all__ = ["main", "score_apart"]

_MODULE = "bert_export.report.scores"
_PATIENCE = 7200.0


def score_apart(
    bundle: Path, data: Path, *, target: str, against: Path | None, threads: int
) -> Score:
    """Score a bundle's answers in a child.

    Args:
        bundle: The folder.
        data: The file, as :func:`bert_export.datasets.read_dataset` takes it.
        target: The engine.
        against: The reference's bundle, which the reference is compared with too; ``None`` where
            there is none, and then the data has to have labels.
        threads: Inside an operator.

    Raises:
        MeasurementError: The data does not fit, or the engine fails; it says why.
    """
    request = {
        "bundle": str(bundle),
        "data": str(data),
        "target": target,
        "against": None if against is None else str(against),
        "threads": threads,
    }
    with Child(_MODULE, threads=threads) as child:
        return msgspec.convert(child.ask(request, patience=_PATIENCE), Score)


def _score(request: Mapping[str, Any]) -> dict[str, Any]:
    from bert_export.evaluation import evaluate

    found = evaluate(
        request["bundle"],
        request["data"],
        target=request["target"],
        against=request["against"],
        threads=request["threads"],
    )
    reference = found.reference
    score = Score(
        metric=found.metric,
        scores=dict(found.scores),
        agreement=None if reference is None else reference.agreement,
        agreement_kind="" if reference is None else reference.kind,
        seconds=found.seconds,
        output_error=None if reference is None else reference.output_error,
        gain_error=None if reference is None else reference.gain_error,
    )
    reply: dict[str, Any] = msgspec.to_builtins(score)
    return reply


def main() -> None:
    """Score once."""
    answer_once(_score)


if __name__ == "__main__":
    main()
