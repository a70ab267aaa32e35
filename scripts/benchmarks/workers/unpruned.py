"""The job that exports a head whose last layer computes every token, which no user gets.

It runs in a process of its own: the recipe that all targets share is another one there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bert_export.errors import BertExportError
from bert_export.exporter import export
from bert_export.passes import prepare
from bert_export.passes.prune_first_token import PruneFirstToken

__all__ = ["EXPECTED_ERRORS", "export_unpruned"]

EXPECTED_ERRORS = (BertExportError,)


def export_unpruned(request: Mapping[str, Any]) -> dict[str, Any]:
    """Export without the pass that leaves one token's row in the last layer.

    Args:
        request: ``task``, ``model``, ``targets``, ``precision``, ``output`` and ``threads``.
    """
    whole = prepare.PREPARE
    prepare.PREPARE = tuple(step for step in whole if not isinstance(step.run, PruneFirstToken))
    if len(prepare.PREPARE) != len(whole) - 1:
        raise RuntimeError("the recipe does not hold the pass once")
    export(
        task=request["task"],
        model=request["model"],
        targets=tuple(request["targets"]),
        precision=request["precision"],
        output=request["output"],
        threads=request["threads"],
        force=True,
    )
    return {}
