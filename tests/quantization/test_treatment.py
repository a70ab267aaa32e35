"""Treatment: what is decided for each activation, what room its range gets, and in which order."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_export.quantization.options import QuantizationOptions
from bert_export.quantization.preparation import prepare_int8
from bert_export.quantization.ranges import observe
from bert_export.quantization.sites import find_sites, group_sites
from bert_export.quantization.smoothing import Smoothing
from bert_export.quantization.treatment import (
    MIXED_HEADROOM,
    ROOM,
    Treatment,
    apply_treatments,
)
from bert_export.runtime.batching import Row
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
    return {"folder": folder, "pad_id": 0, "shape_feeds": lambda feeds: feeds}


@pytest.mark.parametrize("times", [1, 12])  # with the second, attention's own room is the larger
def test_the_range_of_a_treated_activation_has_headroom(times: int, tmp_path: Path) -> None:
    model, rows = prepared("text-classification"), times * ROWS
    found = prepare_int8(model, rows, QuantizationOptions(), **settings(tmp_path)).activations
    highest = dict.fromkeys(found, -np.inf)
    for name, values in observe(model, tuple(found), ROWS, **settings(tmp_path)):
        highest[name] = max(highest[name], float(found[name].treatment.move(values).max()))
    tokens = sum(len(row) for row in rows)
    assert (1 + ROOM / math.sqrt(tokens) < MIXED_HEADROOM) == (times > 1)
    for site in find_sites(model)[0]:
        activation = found[site.activation]
        treatment = activation.treatment
        wanted = 1 + ROOM / math.sqrt(len(rows) if site.layer in OF_ONE_TOKEN else tokens)
        if site.layer.endswith("attention.output.dense"):
            wanted = max(wanted, MIXED_HEADROOM)
        if "output.dense" in site.layer and "attention" not in site.layer:
            wanted = 1.0  # behind GELU, where nothing was split
        assert treatment.headroom == pytest.approx(wanted), site.layer
        assert activation.high == pytest.approx(wanted * highest[site.activation], rel=1e-5)


def test_an_untreated_activation_keeps_the_range_that_was_seen(tmp_path: Path) -> None:
    options = QuantizationOptions(centring=False, smoothing=False, splitting=False)
    model = prepared("text-classification")
    found = prepare_int8(model, ROWS, options, **settings(tmp_path))
    treatments = found.treatments.values()
    assert {treatment.headroom for treatment in treatments} == {1.0}
    assert all(treatment.centres is treatment.smoothing is None for treatment in treatments)


@pytest.mark.parametrize("task", ["text-classification", "token-classification", "text-generation"])
def test_the_order_of_groups_does_not_matter(task: str, tmp_path: Path) -> None:
    model = prepared(task)
    treatments = prepare_int8(model, ROWS, QuantizationOptions(), **settings(tmp_path)).treatments
    feeds = feeds_for(model)
    sites, _ = find_sites(model)
    before = copy_model(model)
    exact, read = run_model(model, feeds, tmp_path), site_inputs(before, feeds, tmp_path)
    for backwards in (False, True):
        treated = copy_model(model)
        groups = group_sites(find_sites(treated)[0])
        names = sorted(groups, reverse=backwards)
        apply_treatments(treated.graph, {name: groups[name] for name in names}, treatments)
        assert 0 < difference(exact, run_model(treated, feeds, tmp_path)) < 5e-5
        moved = site_inputs(treated, feeds, tmp_path)
        for site in sites:
            wanted = treatments[site.activation].move(read[site.layer])
            np.testing.assert_allclose(moved[site.layer], wanted, atol=5e-4)


def test_values_are_centred_and_then_smoothed() -> None:
    scales = np.array([2.0, 0.5], np.float32)
    treatment = Treatment(np.array([1.0, -1.0], np.float32), Smoothing(0.5, scales, folded=False))
    values = np.array([[3.0, 1.0], [1.0, -1.0]], np.float32)
    np.testing.assert_array_equal(treatment.move(values), [[1.0, 4.0], [0.0, 0.0]])
    np.testing.assert_array_equal(treatment.split(values), values)
    np.testing.assert_array_equal(Treatment().move(values), values)
