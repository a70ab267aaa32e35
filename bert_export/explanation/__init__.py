"""What the passes did to a bundle's graph, and what is left to compute."""

from __future__ import annotations

from bert_export.explanation.cost import STAGES, Cost
from bert_export.explanation.explanation import Explanation, PassChanges, explain

__all__ = ["STAGES", "Cost", "Explanation", "PassChanges", "explain"]
