"""The bundle: a folder that answers without PyTorch, and the manifest that describes it.

A bundle holds ``manifest.json`` (:mod:`~bert_export.bundle.schema`), one ``<target>.onnx`` for each
engine that it serves, ``weights.data`` in which all of them find their weights, each stored once,
and ``tokenizer.json``. The manifest keeps the request that the bundle answers
(:mod:`~bert_export.bundle.request`). Every file but the manifest is listed there with its size and
sha256 (:mod:`~bert_export.bundle.integrity`), and a graph is compared with what the manifest says
of it before it answers (:mod:`~bert_export.bundle.graph_check`). A bundle is written whole or not
at all (:mod:`~bert_export.bundle.folder`, and :mod:`~bert_export.bundle.whole_files` for one file).
"""

from __future__ import annotations

from bert_export.bundle.folder import (
    check_replaceable,
    check_unchanged,
    read_bundle,
    read_steadily,
    replace_folder,
)
from bert_export.bundle.graph_check import check_graph
from bert_export.bundle.integrity import (
    MANIFEST,
    WEIGHTS_FILE,
    hash_file,
    read_manifest,
    verify_files,
    write_manifest,
)
from bert_export.bundle.request import (
    AUTO,
    DEFAULT_OBSERVER,
    DEFAULT_OPSET,
    INT8_MODES,
    OBSERVER_NAMES,
    OPSETS,
    CheckpointOptions,
    EngineOptions,
    ExportRequest,
    QuantizationOptions,
    check_opset,
)
from bert_export.bundle.schema import (
    SCHEMA_VERSION,
    AutoTargetRecord,
    BuildRecord,
    BuiltRecord,
    CalibrationRecord,
    CandidateRecord,
    EngineRecord,
    FileRecord,
    GraphRecord,
    LayerPlan,
    Manifest,
    MixedPrecisionRecord,
    ModelRecord,
    OverflowRecord,
    ParityCase,
    ParityRecord,
    ParityTextRecord,
    PassRecord,
    QuantizationGroupRecord,
    QuantizationPlan,
    RefusalRecord,
    SearchRecord,
    TensorSpec,
    TextCheckRecord,
    TextGraphRecord,
    TokenizerRecord,
)
from bert_export.bundle.whole_files import whole_file, write_whole

__all__ = [
    "AUTO",
    "DEFAULT_OBSERVER",
    "DEFAULT_OPSET",
    "INT8_MODES",
    "MANIFEST",
    "OBSERVER_NAMES",
    "OPSETS",
    "SCHEMA_VERSION",
    "WEIGHTS_FILE",
    "AutoTargetRecord",
    "BuildRecord",
    "BuiltRecord",
    "CalibrationRecord",
    "CandidateRecord",
    "CheckpointOptions",
    "EngineOptions",
    "EngineRecord",
    "ExportRequest",
    "FileRecord",
    "GraphRecord",
    "LayerPlan",
    "Manifest",
    "MixedPrecisionRecord",
    "ModelRecord",
    "OverflowRecord",
    "ParityCase",
    "ParityRecord",
    "ParityTextRecord",
    "PassRecord",
    "QuantizationGroupRecord",
    "QuantizationOptions",
    "QuantizationPlan",
    "RefusalRecord",
    "SearchRecord",
    "TensorSpec",
    "TextCheckRecord",
    "TextGraphRecord",
    "TokenizerRecord",
    "check_graph",
    "check_opset",
    "check_replaceable",
    "check_unchanged",
    "hash_file",
    "read_bundle",
    "read_manifest",
    "read_steadily",
    "replace_folder",
    "verify_files",
    "whole_file",
    "write_manifest",
    "write_whole",
]
