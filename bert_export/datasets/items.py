"""Records as the items that a pipeline answers."""

from __future__ import annotations

from typing import Any

from bert_export.datasets.dataset import DataSet
from bert_export.errors import BertExportError, DatasetError, InputError
from bert_export.runtime.pipelines.pipeline import Pipeline

__all__ = ["read_items"]


def read_items(
    pipeline: Pipeline[Any, Any, Any],
    data: DataSet,
    *,
    error: type[BertExportError] = DatasetError,
) -> list[Any]:
    """The pipeline's item of every record.

    Args:
        pipeline: The task's pipeline.
        data: The records.
        error: Class of the error to raise.

    Raises:
        BertExportError: The pipeline refuses a record; the error names its place and is of the
            class ``error``.
    """
    items = []
    for index, record in enumerate(data.records):
        try:
            items.append(pipeline.item(record))
        except InputError as refusal:
            raise error(
                f"{data.place(index)} does not fit {pipeline.task}", got=refusal
            ) from refusal
    return items
