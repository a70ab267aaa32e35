"""Records as the items that a task's pipeline takes."""

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
        pipeline: The task's pipeline, over any session.
        data: The records.
        error: Class of the error to raise.

    Raises:
        BertExportError: The pipeline refuses a record; of the class ``error``, and names its place.
    """
    items = []
    for index, record in enumerate(data.records):
        try:
            items.append(pipeline.item(record))
        except InputError as cause:
            raise error(f"{data.place(index)} does not fit {pipeline.task}", got=cause) from cause
    return items
