"""Graphs as a target gets them: a tiny head through the steps of an export."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from bert_export.bundle import TensorSpec
from bert_export.exporter.manifest_records import graph_record
from bert_export.passes.prepare import prepare
from bert_export.quantization.preparation import Preparation
from bert_export.quantization.quantizer import find_linear_layers, quantize_graph
from bert_export.quantization.query_key import find_query_key_operands
from bert_export.targets import TARGETS, load_target
from bert_export.targets.lowering import lower
from bert_export.targets.weights import WeightStore
from bert_export.tasks import TASKS
from tests.passes.graphs import LAYERS, traced

__all__ = ["emitted", "inputs_of", "prepared", "written"]


def prepared(task: str, **fields) -> ir.Model:
    """The common float graph."""
    model = traced(task, **fields)
    prepare(model, task=TASKS[task], config_layers=LAYERS)
    return model


def emitted(task: str, precision: str, target: str = "tensorrt-rtx", **fields) -> ir.Model:
    """The graph of one target and precision; ranges of INT8 are those of normed activations."""
    model = prepared(task, **fields)
    if precision == "int8":
        sites, _ = find_linear_layers(model)
        ranges = {site.activation: (-4.0, 4.5) for site in sites}
        scheme = load_target(TARGETS[target]).scheme("x86-64-vnni")
        scores = {operand.name: 4.0 for operand in find_query_key_operands(model)}
        quantize_graph(model, Preparation.from_ranges(ranges, scores), scheme=scheme)
    lower(model, target=target, precision=precision, task=TASKS[task], config_layers=LAYERS)
    return model


def inputs_of(model: ir.Model) -> tuple[TensorSpec, ...]:
    return graph_record(model, "", 0).inputs


def written(model: ir.Model, folder: Path, name: str = "tensorrt-rtx.onnx") -> Path:
    """The graph file with its weights beside it, as a bundle has them."""
    with WeightStore(folder) as store:
        store.save(model, name)
    return folder / name
