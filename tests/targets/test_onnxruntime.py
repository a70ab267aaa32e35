from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from bert_export.passes.prepare import prepare
from bert_export.quantization.int8_calibration import Int8Calibration
from bert_export.quantization.linear_layers import QUANTIZED_PREFIXES
from bert_export.quantization.quantizer import SCHEMES, find_linear_layers, quantize_graph
from bert_export.runtime.sessions.onnxruntime import start_engine
from bert_export.targets.lowering import lower
from bert_export.tasks import TASKS
from bert_export.tasks.interface import MASKED_POSITIONS
from bert_export.tracing import linear_layers
from tests.passes.graphs import (
    LAYERS,
    Arrays,
    copy_model,
    feeds_for,
    operators,
    run_model,
    traced,
)
from tests.support import ONE_GRAPH

LENGTHS = [(7, 3, 1), (4, 4), (1,)]


def _prepare(model: ir.Model, task: str, *, layers: int = LAYERS):
    return prepare(model, task=TASKS[task], config_layers=layers)


def _lower(model: ir.Model, task: str, precision: str, *, layers: int = LAYERS):
    return lower(
        model,
        target="onnxruntime",
        precision=precision,
        task=TASKS[task],
        config_layers=layers,
    )


def _expected(task: str, before: Arrays, feeds: Arrays) -> Arrays:
    """What the whole graph says where the pruned one answers."""
    if task == "fill-mask":
        logits = before["logits"]
        return {"logits": logits.reshape(-1, logits.shape[-1])[feeds[MASKED_POSITIONS]]}
    if task == "text-generation":
        last = [np.flatnonzero(row)[-1] for row in feeds["attention_mask"]]
        return {"logits": before["logits"][np.arange(len(last)), last]}
    return before


def _difference(task: str, model: ir.Model, optimized: ir.Model, lengths, folder) -> float:
    feeds = feeds_for(optimized, lengths)
    inputs = {str(value.name) for value in model.graph.inputs}
    before = run_model(model, {name: feeds[name] for name in inputs}, folder)
    wanted, got = _expected(task, before, feeds), run_model(optimized, feeds, folder)
    assert {name: array.shape for name, array in wanted.items()} == {
        name: array.shape for name, array in got.items()
    }
    return max(float(np.abs(wanted[name] - got[name]).max()) for name in wanted)


@pytest.mark.parametrize("task", ONE_GRAPH)
def test_every_head_answers_the_same(task, tmp_path):
    model = traced(task)
    optimized = copy_model(model)
    outcomes = (
        *_prepare(optimized, task),
        *_lower(optimized, task, "fp32"),
    )
    done = {outcome.pass_name: outcome.rewritten for outcome in outcomes}
    assert done["fuse_attention"] == LAYERS
    for lengths in LENGTHS:
        assert _difference(task, model, optimized, lengths, tmp_path) < 1e-5
    before = operators(optimized)
    for outcome in _lower(copy_model(optimized), task, "fp32"):
        assert outcome.rewritten == 0, outcome.pass_name
    assert operators(optimized) == before


@pytest.mark.parametrize(
    "fields",
    [
        {"hidden_act": "quick_gelu"},
        {"hidden_act": "gelu_new"},
        {"position_embedding_type": "relative_key_query"},
        {"is_decoder": True},
        {"num_hidden_layers": 0},
        {"num_hidden_layers": 1},
    ],
)
def test_every_configuration_answers_the_same(fields, tmp_path):
    task = "text-classification"
    model = traced(task, **fields)
    optimized = copy_model(model)
    layers = fields.get("num_hidden_layers", LAYERS)
    _prepare(optimized, task, layers=layers)
    _lower(optimized, task, "fp32", layers=layers)
    for lengths in LENGTHS:
        assert _difference(task, model, optimized, lengths, tmp_path) < 1e-5


def test_an_older_opset_is_pruned_but_not_fused(tmp_path):
    model = traced("text-classification", opset=20)
    optimized = copy_model(model)
    done = {
        outcome.pass_name: outcome.rewritten
        for outcome in (
            *_prepare(optimized, "text-classification"),
            *_lower(optimized, "text-classification", "fp32"),
        )
    }
    assert (done["fuse_attention"], done["prune_first_token"]) == (0, 1)
    assert _difference("text-classification", model, optimized, (7, 3, 1), tmp_path) < 1e-5


@pytest.mark.parametrize("task", ONE_GRAPH)
def test_int8_keeps_its_answers_through_the_lowering(task, tmp_path):
    model = traced(task)
    _prepare(model, task)
    sites, _ = find_linear_layers(model)
    assert len(sites) == sum(
        layer.startswith(QUANTIZED_PREFIXES) for layer, _ in linear_layers(model.graph)
    )
    assert len(sites) >= 6 * LAYERS
    ranges = {site.activation: (-4.0, 4.0) for site in sites}
    quantize_graph(model, Int8Calibration.from_ranges(ranges), scheme=SCHEMES["x86-64-vnni"])
    lowered = copy_model(model)
    outcomes = _lower(lowered, task, "int8")
    assert outcomes[0].pass_name == "lower_quantized_linear"
    assert outcomes[0].rewritten == len(sites)
    feeds = feeds_for(model)
    before = run_model(model, feeds, tmp_path)
    after = run_model(lowered, feeds, tmp_path, unsaturated=True)
    assert max(float(np.abs(before[name] - after[name]).max()) for name in before) < 1e-3


@pytest.mark.parametrize("task", ONE_GRAPH)
def test_the_engine_undoes_no_form_where_products_must_not_saturate(task, tmp_path, monkeypatch):
    class Saving(onnxruntime.SessionOptions):
        def __init__(self):
            super().__init__()
            self.optimized_model_filepath = str(tmp_path / "optimized.onnx")

    monkeypatch.setattr(onnxruntime, "SessionOptions", Saving)
    model = traced(task)
    _prepare(model, task)
    ranges = {site.activation: (-4.0, 4.0) for site in find_linear_layers(model)[0]}
    quantize_graph(model, Int8Calibration.from_ranges(ranges), scheme=SCHEMES["x86-64-vnni"])
    _lower(model, task, "int8")
    ir.save(model, tmp_path / "model.onnx")
    found = []
    for unsaturated in (False, True):
        start_engine(tmp_path / "model.onnx", threads=1, unsaturated=unsaturated)
        found.append(operators(ir.load(tmp_path / "optimized.onnx")))
    assert found[0] == found[1]
