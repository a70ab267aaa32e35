"""A variant's score, taken in a process of its own: an engine that crashes costs a row and no more.

The module is that process's worker too; see :mod:`bert_export.measuring.serving`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from bert_export.errors import BertExportError
from bert_export.measuring.child import call_apart
from bert_export.report.schema import DataRecord, Score

__all__ = ["EXPECTED_ERRORS", "score", "score_apart"]

EXPECTED_ERRORS = (BertExportError,)


def score_apart(
    bundle: Path, data: Path, *, read: DataRecord, target: str, against: Path | None, threads: int
) -> Score:
    """Score a bundle's answers in a child.

    Args:
        bundle: The folder.
        data: The file, as :func:`bert_export.datasets.read_dataset` takes it.
        read: How its columns and labels are called.
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
        "fields": read.fields,
        "label_map": read.label_map,
        "target": target,
        "against": None if against is None else str(against),
        "threads": threads,
    }
    return msgspec.convert(
        call_apart("bert_export.report.scores", "score", request, threads=threads).reply, Score
    )


def score(request: Mapping[str, Any]) -> dict[str, Any]:
    """Score once; the request is that of :func:`score_apart`, the reply a :class:`Score`."""
    from bert_export.evaluation import evaluate

    evaluation = evaluate(
        request["bundle"],
        request["data"],
        fields=request["fields"],
        label_map=request["label_map"],
        target=request["target"],
        against=request["against"],
        threads=request["threads"],
    )
    reference = evaluation.reference
    reply: dict[str, Any] = msgspec.to_builtins(
        Score(
            metric=evaluation.metric,
            scores=dict(evaluation.scores),
            agreement=None if reference is None else reference.agreement,
            agreement_kind="" if reference is None else reference.kind,
            seconds=evaluation.seconds,
            output_error=None if reference is None else reference.output_error,
            gain_error=None if reference is None else reference.gain_error,
            notes=evaluation.notes,
        )
    )
    return reply
