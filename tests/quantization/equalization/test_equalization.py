"""Equalization: what is decided for each activation, its room, and in which order."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_export.quantization.calibration.ranges import observe
from bert_export.quantization.equalization.equalization import (
    MIXED_HEADROOM,
    ROOM,
    Equalization,
    apply_equalizations,
)
from bert_export.quantization.equalization.smoothquant import SmoothQuant
from bert_export.quantization.linear_layers import find_linear_layers, group_linear_layers
from bert_export.quantization.options import QuantizationOptions
from bert_export.quantization.preparation import prepare_int8
from bert_export.runtime.batching import Row, pad_rows
from tests.passes.graphs import copy_model, difference, feeds_for, run_model
from tests.quantization.activations import site_inputs
from tests.targets.emitted import prepared

OF_ONE_TOKEN = (
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


@pytest.mark.parametrize("times", [1, 12])  # with the second, attention's own room is the larger
def test_the_range_of_a_treated_activation_has_headroom(times: int, tmp_path: Path) -> None:
    model, rows = prepared("text-classification"), times * ROWS
    found = prepare_int8(model, rows, QuantizationOptions(), **settings(tmp_path)).activations
    highest = dict.fromkeys(found, -np.inf)
    for name, values in observe(model, tuple(found), ROWS, **settings(tmp_path)):
        highest[name] = max(highest[name], float(found[name].equalization.move(values).max()))
    tokens = sum(len(row) for row in rows)
    assert (1 + ROOM / math.sqrt(tokens) < MIXED_HEADROOM) == (times > 1)
    for layer in find_linear_layers(model)[0]:
        activation = found[layer.activation]
        equalization = activation.equalization
        wanted = 1 + ROOM / math.sqrt(len(rows) if layer.name in OF_ONE_TOKEN else tokens)
        if layer.name.endswith("attention.output.dense"):
            wanted = max(wanted, MIXED_HEADROOM)
        if "output.dense" in layer.name and "attention" not in layer.name:
            wanted = 1.0  # behind GELU, where nothing was split
        assert equalization.headroom == pytest.approx(wanted), layer.name
        assert activation.high == pytest.approx(wanted * highest[layer.activation], rel=1e-5)


def test_an_untreated_activation_keeps_the_range_that_was_seen(tmp_path: Path) -> None:
    options = QuantizationOptions(
        channel_shifting=False, smoothquant=False, channel_splitting=False
    )
    model = prepared("text-classification")
    found = prepare_int8(model, ROWS, options, **settings(tmp_path))
    equalizations = found.equalizations.values()
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
    exact, read = run_model(model, feeds, tmp_path), site_inputs(before, feeds, tmp_path)
    for backwards in (False, True):
        treated = copy_model(model)
        groups = group_linear_layers(find_linear_layers(treated)[0])
        names = sorted(groups, reverse=backwards)
        apply_equalizations(treated.graph, {name: groups[name] for name in names}, equalizations)
        assert 0 < difference(exact, run_model(treated, feeds, tmp_path)) < 5e-5
        moved = site_inputs(treated, feeds, tmp_path)
        for layer in layers:
            wanted = equalizations[layer.activation].move(read[layer.name])
            np.testing.assert_allclose(moved[layer.name], wanted, atol=5e-4)


def test_values_are_centred_and_then_smoothed() -> None:
    scales = np.array([2.0, 0.5], np.float32)
    equalization = Equalization(
        np.array([1.0, -1.0], np.float32), SmoothQuant(0.5, scales, folded=False)
    )
    values = np.array([[3.0, 1.0], [1.0, -1.0]], np.float32)
    np.testing.assert_array_equal(equalization.move(values), [[1.0, 4.0], [0.0, 0.0]])
    np.testing.assert_array_equal(equalization.split(values), values)
    np.testing.assert_array_equal(Equalization().move(values), values)
