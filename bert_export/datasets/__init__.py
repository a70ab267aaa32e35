"""Data sets: files of records, labelled or not, for calibration and evaluation.

A file is read into plain records with the fields of a task. Every value is checked, and an error
names its file, row and field. ``formats`` knows the kinds of files, ``fields`` knows what a field
may hold, ``items`` hands records to a pipeline, and ``pairing`` and ``masking`` make the inputs of
pre-training's heads. ``README.md`` beside this file describes the files for users.
"""

from __future__ import annotations

from bert_export.datasets.dataset import DataSet, read_dataset
from bert_export.datasets.memory import IN_MEMORY, Records

__all__ = ["IN_MEMORY", "DataSet", "Records", "read_dataset"]
