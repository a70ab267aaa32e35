"""Answers to tables: rows in, the same rows with their answers out.

:class:`Answers` is a plain class that engines of clusters call: Ray Data's ``map_batches``, Spark's
``mapInPandas``, Dask's ``map_partitions``. :func:`answer_file` answers a file, on one machine or
with Ray.
"""

from bert_export.bulk.answers import ANSWER, Answers
from bert_export.bulk.file import Engine, answer_file
from bert_export.bulk.work import PART_ROWS

__all__ = ["ANSWER", "PART_ROWS", "Answers", "Engine", "answer_file"]
