"""What a bundle's answers are worth: the task's own metric on a labelled file, and agreement.

One file per family of metrics holds scorers; ``scorers`` is the table of them by task. A scorer
says which answer counts and how answers are scored, the runtime's own pipelines give the answers.
"""

from __future__ import annotations

from bert_export.evaluation.evaluation import Evaluation, Reference, evaluate

__all__ = ["Evaluation", "Reference", "evaluate"]
