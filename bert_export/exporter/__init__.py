"""From a checkpoint to a verified bundle, stage by stage.

::

    ExportRequest   every option, kept in the manifest      bundle/request.py, request.py,
                                                            recipe_file.py, default_targets.py
      -> Source     checkpoint, task, head, texts           source.py
      -> FloatGraph traced, fused, pruned; rows             float_graph.py
      -> Calibrated ranges, equalization, FP16's overflow,  calibrate.py, fp16_overflow.py,
                    the accuracy budget                     accuracy_budget.py
      -> engines    graph, plan, parity; or a refusal       engine.py, refusal.py
      -> bundle     timed where the target is auto          exporting.py, bundle_files.py,
                                                            auto_target.py

``auto_precision.py`` takes one float graph through the stages after it, once for each precision.
``add_targets.py`` runs the same stages for a bundle that is there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bert_export.bundle import (
    AUTO,
    CheckpointOptions,
    EngineOptions,
    ExportRequest,
    QuantizationOptions,
)
from bert_export.exporter.progress import Listener, Progress, SilentListener, Stage
from bert_export.exporter.recipe_file import read_recipe, recipe_text
from bert_export.exporter.request import check_request
from bert_export.importing import import_on_use
from bert_export.target_table import PRECISIONS

if TYPE_CHECKING:  # they need PyTorch, a request and its check do not
    from bert_export.exporter.exporting import Export, export, export_request
    from bert_export.exporter.refusal import Refusal

__all__ = [
    "AUTO",
    "PRECISIONS",
    "CheckpointOptions",
    "EngineOptions",
    "Export",
    "ExportRequest",
    "Listener",
    "Progress",
    "QuantizationOptions",
    "Refusal",
    "SilentListener",
    "Stage",
    "check_request",
    "export",
    "export_request",
    "read_recipe",
    "recipe_text",
]

__getattr__ = import_on_use(
    __name__,
    {
        "Export": "bert_export.exporter.exporting",
        "Refusal": "bert_export.exporter.refusal",
        "export": "bert_export.exporter.exporting",
        "export_request": "bert_export.exporter.exporting",
    },
)
