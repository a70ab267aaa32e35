"""The switchable graph is the float graph, the INT8 graph, and every configuration between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from bert_export.checkpoints import load_checkpoint
from bert_export.models import load_head
from bert_export.passes.prepare import prepare
from bert_export.quantization.equalization.outlier_channel_splitting import ChannelSplitting
from bert_export.quantization.int8_calibration import Int8Calibration, calibrate_int8
from bert_export.quantization.mixed_precision.switchable_graph import (
    SwitchableSession,
    build_switchable_graph,
    find_groups,
)
from bert_export.quantization.options import QuantizationOptions
from bert_export.quantization.quantizer import quantize_graph
from bert_export.quantization.weights.number_formats import SCHEMES
from bert_export.runtime.batching import Row, pad_rows
from bert_export.runtime.sessions.onnxruntime import OnnxRuntimeSession
from bert_export.runtime.sessions.session import Outputs
from bert_export.tasks import find_task
from tests.oracle import random_batch
from tests.tracing.test_trace import trace_head

SCHEME = SCHEMES["x86-64-vnni"]


def rows() -> list[Row]:
    ids, mask, types = random_batch(60, (9, 4, 1, 7))
    return [
        Row(ids[i, : int(n)].numpy(), types[i, : int(n)].numpy(), None)  # type: ignore[arg-type]
        for i, n in enumerate(mask.sum(1))
    ]


FEEDS = pad_rows(rows(), pad_id=0)


@pytest.fixture
def model(tiny: Callable[..., Path]) -> ir.Model:
    folder = tiny("BertForSequenceClassification", num_labels=3)
    head = load_head("BertForSequenceClassification", load_checkpoint(str(folder)))
    traced = trace_head(head, "text-classification")
    prepare(traced, task=find_task("text-classification"), config_layers=2)
    return traced


def calibrate(model: ir.Model, folder: Path, **options: bool) -> Int8Calibration:
    calibration = calibrate_int8(
        model,
        rows(),
        QuantizationOptions(**options),
        folder=folder,
        feeds=partial(pad_rows, pad_id=0),
    )
    if not options.get("channel_splitting"):
        return calibration
    # A tiny layer has too few units for the search to split one.
    name = next(
        group.activation
        for group in find_groups(model, calibration)
        if "output" in group.layers[0] and "attention" not in group.layers[0]
    )
    activation = calibration.activations[name]
    copies = np.zeros(24, dtype=np.int64)
    copies[[3, 7]] = 1, 2
    steepness = np.where(copies == 1, 2.0, 1.0).astype(np.float32)
    splitting = ChannelSplitting(activation.high, copies, steepness)
    equalization = replace(activation.equalization, channel_splitting=splitting)
    split = replace(activation, equalization=equalization)
    return replace(calibration, activations={**calibration.activations, name: split})


def run(model: ir.Model, folder: Path) -> Outputs:
    path = folder / "graph.onnx"
    ir.save(model, path)
    with OnnxRuntimeSession(path) as session:
        return session.run(FEEDS)


@pytest.mark.parametrize("equalized", [False, True])
def test_all_off_is_float_and_all_on_is_int8(
    model: ir.Model, tmp_path: Path, *, equalized: bool
) -> None:
    options = {
        "smoothquant": equalized,
        "channel_splitting": False,
        "bias_correction": equalized,
        "embeddings": equalized,
    }
    calibration = calibrate(model, tmp_path, **options)
    switchable, groups = build_switchable_graph(model, calibration, SCHEME)
    exact = run(model, tmp_path)
    int8_model = model.clone()
    quantize_graph(int8_model, calibration, scheme=SCHEME)
    quantized = run(int8_model, tmp_path)
    assert not np.allclose(exact["logits"], quantized["logits"], atol=1e-4)
    with SwitchableSession(switchable, len(groups), folder=tmp_path) as session:
        np.testing.assert_allclose(session.run(FEEDS)["logits"], exact["logits"], atol=1e-5)
        session.switch_to_int8(range(len(groups)))
        np.testing.assert_allclose(session.run(FEEDS)["logits"], quantized["logits"], atol=1e-5)
        session.switch_to_int8([])
        np.testing.assert_allclose(session.run(FEEDS)["logits"], exact["logits"], atol=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["graph.onnx"]


@pytest.mark.parametrize("int8_groups", [(0, 2, 3, 10), (1, 4, 7, 8), (3, 7, 10)])
def test_a_configuration_is_the_graph_that_is_written_for_it(
    model: ir.Model, tmp_path: Path, int8_groups: tuple[int, ...]
) -> None:
    calibration = calibrate(
        model, tmp_path, smoothquant=True, channel_splitting=True, bias_correction=False
    )
    switchable, groups = build_switchable_graph(model, calibration, SCHEME)
    excluded = {
        layer: "asked for"
        for index, group in enumerate(groups)
        if index not in int8_groups
        for layer in group.layers
    }
    written = model.clone()
    quantize_graph(written, calibration.with_excluded_layers(excluded), scheme=SCHEME)
    expected = run(written, tmp_path)["logits"]
    with SwitchableSession(switchable, len(groups), folder=tmp_path) as session:
        session.switch_to_int8(int8_groups)
        np.testing.assert_allclose(session.run(FEEDS)["logits"], expected, atol=1e-5)


def test_split_units_do_not_count_twice_in_float(model: ir.Model, tmp_path: Path) -> None:
    calibration = calibrate(model, tmp_path, channel_splitting=True, bias_correction=False)
    switchable, groups = build_switchable_graph(model, calibration, SCHEME)
    with SwitchableSession(switchable, len(groups), folder=tmp_path) as session:
        logits = session.run(FEEDS)["logits"]
    np.testing.assert_allclose(logits, run(model, tmp_path)["logits"], atol=1e-5)


def test_layers_of_a_group_share_their_input(model: ir.Model, tmp_path: Path) -> None:
    calibration = calibrate(model, tmp_path)
    groups = find_groups(model, calibration)
    assert [len(group.layers) for group in groups] == [
        *(3, 1, 1, 1),
        *(1, 2, 1, 1, 1),  # the last layer's query reads its first token alone
        1,
    ]
    assert groups[0].layers[0].endswith("layer.0.attention.self.query")
    assert groups[0].multiplications == 3 * 16 * 16
    assert groups[0].per_token
    assert [group.per_token for group in groups[4:]] == [False, True, False, False, False, False]
    assert (
        sum(group.multiplications for group in groups) == 2 * (4 * 16 * 16 + 2 * 16 * 24) + 16 * 16
    )
