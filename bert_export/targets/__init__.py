"""What makes a target's graph and engine: one file per target, and what several of them share.

The rows stand in :mod:`bert_export.target_table` and are offered here too. Importing this package
is light; a target's file, and with it onnx_ir and the engine's own packages, is imported by
:func:`load_target`. ``README.md`` beside this file tells what form of graph each target wants, and
what was verified where.
"""

from __future__ import annotations

from bert_export.target_table import DEFAULT_TARGET, TARGETS, Target, find_target
from bert_export.targets.target_module import TargetModule, load_target

__all__ = [
    "DEFAULT_TARGET",
    "TARGETS",
    "Target",
    "TargetModule",
    "find_target",
    "load_target",
]
