"""From a checkpoint to a verified bundle, stage by stage."""

from __future__ import annotations

from bert_export.exporter.export import PRECISIONS, Export, Listener, Stage, export

__all__ = ["PRECISIONS", "Export", "Listener", "Stage", "export"]
