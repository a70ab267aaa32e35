"""Evaluation: the task's own metric on a labelled file, and agreement with another bundle.

The runtime's own pipelines give the answers. A scorer says which part of an answer counts, and how
answers are scored; one file holds the scorers of one family of metrics. A task names its scorer.
"""

from __future__ import annotations

from bert_export.evaluation.evaluation import Evaluation, Reference, evaluate

__all__ = ["Evaluation", "Reference", "evaluate"]
