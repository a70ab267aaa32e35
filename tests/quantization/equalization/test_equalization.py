"""Equalization: what each activation gets, its headroom, and that no order matters."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_export.quantization.calibration.ranges import observe
from bert_export.quantization.equalization.equalization import (
    ATTENTION_HEADROOM,
    SAMPLING_HEADROOM,
    Equalization,
    apply_equalizations,
)
from bert_export.quantization.equalization.smoothquant import SmoothQuant
from bert_export.quantization.linear_layers import find_linear_layers, group_linear_layers
from bert_export.quantization.options import QuantizationOptions
from bert_export.quantization.preparation import prepare_int8
from bert_export.runtime.batching import Row, pad_rows
from tests.passes.graphs import copy_model, difference, feeds_for, run_model
from tests.quantization.activations import layer_inputs
from tests.targets.emitted import prepared

FIRST_TOKEN_ALONE = (
    "bert.encoder.layer.1.attention.self.query",
    "bert.encoder.layer.1.attention.output.dense",
    "bert.encoder.layer.1.intermediate.dense",
    "bert.pooler.dense",
)
LENGTHS = (16, 3, 9, 1, 12, 5, 7)
ROWS = [
    Row(ids, np.zeros_like(ids), None)  # type: ignore[arg-type]
    for ids in (np.random.default_rng(3).integers(0, 37, length) for length in LENGTHS)
]


def settings(folder: Path) -> dict[str, Any]:
    return {"folder": folder, "feeds": partial(pad_rows, pad_id=0)}


@pytest.mark.parametrize("times", [1, 12])  # of the second, attention's headroom is the larger
def test_the_range_of_an_equalized_activation_has_headroom(times: int, tmp_path: Path) -> None:
    model, rows = prepared("text-classification"), times * ROWS
    activations = prepare_int8(model, rows, QuantizationOptions(), **settings(tmp_path)).activations
    largest = dict.fromkeys(activations, -np.inf)
    for name, values in observe(model, tuple(activations), ROWS, **settings(tmp_path)):
        equalized = activations[name].equalization.shift_and_scale(values)
        largest[name] = max(largest[name], float(equalized.max()))
    tokens = sum(len(row) for row in rows)
    assert (1 + SAMPLING_HEADROOM / math.sqrt(tokens) < ATTENTION_HEADROOM) == (times > 1)
    for layer in find_linear_layers(model)[0]:
        activation = activations[layer.activation]
        observed = len(rows) if layer.name in FIRST_TOKEN_ALONE else tokens
        headroom = 1 + SAMPLING_HEADROOM / math.sqrt(observed)
        if layer.name.endswith("attention.output.dense"):
            headroom = max(headroom, ATTENTION_HEADROOM)
        if "output.dense" in layer.name and "attention" not in layer.name:
            headroom = 1.0  # behind GELU, where nothing was split
        assert activation.equalization.headroom == pytest.approx(headroom), layer.name
        assert activation.high == pytest.approx(headroom * largest[layer.activation], rel=1e-5)


def test_without_equalization_the_range_is_the_calibrated_one(tmp_path: Path) -> None:
    options = QuantizationOptions(
        channel_shifting=False, smoothquant=False, channel_splitting=False
    )
    model = prepared("text-classification")
    preparation = prepare_int8(model, ROWS, options, **settings(tmp_path))
    equalizations = preparation.equalizations.values()
    assert {equalization.headroom for equalization in equalizations} == {1.0}
    assert all(
        equalization.shifts is equalization.smoothquant is None for equalization in equalizations
    )


@pytest.mark.parametrize("task", ["text-classification", "token-classification", "text-generation"])
def test_the_order_of_groups_does_not_matter(task: str, tmp_path: Path) -> None:
    model = prepared(task)
    equalizations = prepare_int8(
        model, ROWS, QuantizationOptions(), **settings(tmp_path)
    ).equalizations
    feeds = feeds_for(model)
    layers, _ = find_linear_layers(model)
    before = copy_model(model)
    exact, inputs = run_model(model, feeds, tmp_path), layer_inputs(before, feeds, tmp_path)
    for backwards in (False, True):
        equalized = copy_model(model)
        groups = group_linear_layers(find_linear_layers(equalized)[0])
        names = sorted(groups, reverse=backwards)
        apply_equalizations(equalized.graph, {name: groups[name] for name in names}, equalizations)
        assert 0 < difference(exact, run_model(equalized, feeds, tmp_path)) < 5e-5
        equalized_inputs = layer_inputs(equalized, feeds, tmp_path)
        for layer in layers:
            expected = equalizations[layer.activation].shift_and_scale(inputs[layer.name])
            np.testing.assert_allclose(equalized_inputs[layer.name], expected, atol=5e-4)


def test_values_are_shifted_and_then_scaled() -> None:
    scales = np.array([2.0, 0.5], np.float32)
    equalization = Equalization(
        np.array([1.0, -1.0], np.float32), SmoothQuant(0.5, scales, folded=False)
    )
    values = np.array([[3.0, 1.0], [1.0, -1.0]], np.float32)
    np.testing.assert_array_equal(equalization.shift_and_scale(values), [[1.0, 4.0], [0.0, 0.0]])
    np.testing.assert_array_equal(equalization.split(values), values)
    np.testing.assert_array_equal(Equalization().shift_and_scale(values), values)
