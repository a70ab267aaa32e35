"""The matrix of targets: what counts as ours, ratios, bounds, and every kind of contender."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import bench_targets
import numpy as np
import pytest
from bench_targets import ANY_SHAPE, NNCF, OURS_OPENVINO, REFERENCE, ROWS, SHAPES, Row
from measuring.children import run_worker
from measuring.figures import Samples

from bert_export.exporter import Export

LABELS = [f"{batch}x{sequence}" for batch, sequence in SHAPES]


def samples(**medians: float) -> dict[str, Samples]:
    """One figure for all shapes; names by their short forms."""
    names = {
        "torch": REFERENCE,
        "nncf": NNCF,
        "openvino": OURS_OPENVINO,
        "free_nncf": NNCF + ANY_SHAPE,
        "free_openvino": OURS_OPENVINO + ANY_SHAPE,
        "onnxruntime": "ours, onnxruntime INT8",
    }
    found = {}
    for short, median in medians.items():
        found[names[short]] = Samples()
        found[names[short]].add(dict.fromkeys(LABELS, median))
    return found


def row(name: str) -> Row:
    weights = next(weights for weights in bench_targets.WEIGHTS if name.startswith(weights))
    return Row(name, weights, *bench_targets.TASKS[name.removeprefix(f"{weights}-")])


def test_rows_are_weights_and_tasks() -> None:
    assert ROWS == (
        "minilm-encoder",
        "minilm-text-classification",
        "minilm-fill-mask",
        "bert-base-encoder",
        "bert-base-text-classification",
        "bert-base-fill-mask",
    )
    assert [row(name).name for name in ROWS] == list(ROWS)


@pytest.mark.parametrize(
    ("name", "medians", "missed"),
    [
        ("minilm-encoder", {"torch": 65, "nncf": 9.7, "openvino": 10}, set()),
        ("minilm-encoder", {"torch": 64, "nncf": 9.7, "openvino": 10}, {REFERENCE}),
        ("minilm-encoder", {"torch": 65, "nncf": 9.6, "openvino": 10}, {"peer", "NNCF"}),
        # Another target of ours may be the fastest, but OpenVINO's own bound holds all the same.
        ("minilm-encoder", {"torch": 65, "nncf": 9, "openvino": 10, "onnxruntime": 8}, {"NNCF"}),
        ("bert-base-text-classification", {"nncf": 11, "openvino": 10}, set()),
        ("bert-base-text-classification", {"nncf": 10.9, "openvino": 10}, {"NNCF"}),
        ("minilm-fill-mask", {"nncf": 12.9, "openvino": 10}, {"NNCF"}),
        ("minilm-fill-mask", {"nncf": 13, "openvino": 10}, set()),
    ],
)
def test_bounds(name: str, medians: dict[str, float], missed: set[str]) -> None:
    bounds = bench_targets._bounds(row(name), samples(**medians))
    assert len(bounds) == len(SHAPES) * (3 if name.endswith("encoder") else 2)
    found = {bound.what for bound in bounds if bound.verdict == "MISS"}
    assert {
        word for word in (REFERENCE, "peer", "NNCF") if any(word in what for what in found)
    } == (missed)


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    bounds = bench_targets._bounds(row("minilm-encoder"), samples(openvino=1.0))
    assert {bound.verdict for bound in bounds} == {"UNMEASURED"}


def test_tables_name_our_best_at_every_shape() -> None:
    medians, ratios = bench_targets._sections(
        row("minilm-encoder"),
        samples(torch=80, nncf=12, openvino=10, onnxruntime=8, free_nncf=16.5, free_openvino=15),
    )
    assert next(line[0] for line in medians.rows) == REFERENCE
    lines = {line[0]: line[1:] for line in ratios.rows}
    assert set(lines["our best"]) == {"onnxruntime INT8"}
    assert set(lines[f"over {REFERENCE}"]) == {10.0}
    assert set(lines["over the best of them"]) == {1.5}
    assert set(lines["our OpenVINO INT8 over NNCF's"]) == {1.2}
    assert set(lines["our OpenVINO INT8 over NNCF's, any shape"]) == {1.1}


def test_every_kind_of_contender_answers_alike(
    tiny: Callable[..., Path], tiny_export: Callable[..., Export], tmp_path: Path
) -> None:
    pytest.importorskip("openvino")
    done = tiny_export("feature-extraction", "BertModel", targets=("onnxruntime", "openvino"))
    feeds = tmp_path / "feeds.npz"
    ids = np.arange(6, dtype=np.int64).reshape(2, 3) + 5
    ones = np.ones_like(ids)
    np.savez(feeds, input_ids=ids, attention_mask=ones, token_type_ids=0 * ids, masks=0 * ones == 1)
    graph = str(done.path / "openvino.onnx")
    contenders: dict[str, dict[str, Any]] = {
        "torch": {"path": str(tiny("BertModel")), "precision": "float32"},
        "bundle": {"path": str(done.path), "target": "openvino"},
        "bundle of fixed shapes": {"path": str(done.path), "target": "openvino", "fixed": True},
        "onnxruntime": {"path": graph},
        "openvino": {"path": graph, "precision": "f32"},
        "openvino of fixed shapes": {"path": graph, "precision": "f32", "fixed": True},
    }
    answers = {}
    for kind, facts in contenders.items():
        kept = tmp_path / f"{kind}.npz"
        request = {
            "kind": kind.split()[0],
            "fixed": False,
            "precision": None,
            "target": None,
            "task": "feature-extraction",
            "shapes": [[2, 3]],
            "files": [str(feeds)],
            "answers": [str(kept)],
            "seconds": 0.0,
            "least": 1,
            **facts,
        }
        (message,), _ = run_worker("worker_targets", request, threads=1)
        assert message["shape"] == [2, 3]
        assert message["seconds"] > 0
        with np.load(kept) as stored:
            answers[kind] = stored["last_hidden_state"]
    assert answers["torch"].shape[0] == ids.size
    for found in answers.values():
        np.testing.assert_allclose(found, answers["torch"], atol=1e-4)
