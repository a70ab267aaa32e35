"""Data sets: files of records, labelled or not, that calibrate and that evaluate.

A file is read into plain records with a task's fields, every one of them checked; what is wrong is
named with its file, row and field. ``formats`` knows kinds of files, ``fields`` knows what a field
may hold; ``pairing`` and ``masking`` make the inputs that pre-training's heads are asked with.
"""

from __future__ import annotations

from bert_export.datasets.dataset import DataSet, read_dataset

__all__ = ["DataSet", "read_dataset"]
