"""Workers of the benchmarks: every kind of contender answers alike, feeds fit, profiles add up."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bert_export.exporter import Export
from bert_export.measuring.child import call_apart
from bert_export.measuring.timing import conditions, time_first_answers
from bert_export.measuring.workloads import Workload
from scripts.benchmarks.common.comparison import Comparison, compare_outputs
from scripts.benchmarks.common.places import WORKERS
from scripts.benchmarks.workers.contenders import OPENERS, open_contender, pool
from scripts.benchmarks.workers.profile_graph import summarize
from tests.scripts.benchmarks.support import Silent

FOREIGN = ("contenders.py", "quantize.py", "versions.py")
"""Files that run where nothing of the project is installed."""


@pytest.fixture
def feeds(tmp_path: Path) -> str:
    file = tmp_path / "feeds.npz"
    ids = np.arange(6, dtype=np.int64).reshape(2, 3) + 5
    ones = np.ones_like(ids)
    np.savez(file, input_ids=ids, attention_mask=ones, token_type_ids=0 * ids, masks=0 * ones == 1)
    return str(file)


@pytest.mark.parametrize("file", FOREIGN)
def test_a_worker_of_other_environments_needs_the_standard_library_alone(file: str) -> None:
    code = (
        f"import runpy, sys; runpy.run_path({str(WORKERS / file)!r});"
        "sys.exit(' '.join({'numpy', 'msgspec', 'bert_export'} & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_kind_of_contender_answers_alike(
    tiny: Callable[..., Path],
    tiny_export: Callable[..., Export],
    feeds: str,
    tmp_path: Path,
) -> None:
    pytest.importorskip("openvino")
    done = tiny_export("feature-extraction", "BertModel", targets=("onnxruntime", "openvino"))
    graph = str(done.path / "openvino.onnx")
    model, shapes = str(tiny("BertModel")), [[2, 3]]
    contenders: dict[str, dict[str, Any]] = {
        "torch": {"kind": "transformers", "path": model, "precision": "float32"},
        "bundle": {"kind": "bundle", "path": str(done.path), "target": "openvino"},
        "bundle of fixed shapes": {
            "kind": "bundle",
            "path": str(done.path),
            "target": "openvino",
            "shapes": shapes,
        },
        "onnxruntime": {"kind": "onnxruntime", "path": graph},
        "openvino": {"kind": "openvino", "path": graph, "precision": "f32"},
        "openvino of fixed shapes": {
            "kind": "openvino",
            "path": graph,
            "precision": "f32",
            "shapes": shapes,
        },
    }
    answers = {}
    for name, request in contenders.items():
        contender = open_contender({"threads": 1, "task": "feature-extraction", **request})
        (call,) = contender.calls({"feeds": feeds})
        call()
        file = tmp_path / f"{name}.npz"
        contender.save_outputs({"feeds": feeds, "outputs": str(file)})
        with np.load(file) as stored:
            answers[name] = stored["last_hidden_state"]
    assert answers["torch"].shape[0] == 6
    for name, states in answers.items():
        np.testing.assert_allclose(states, answers["torch"], atol=1e-4)
        words = compare_outputs(tmp_path / "torch.npz", tmp_path / f"{name}.npz")
        assert words.startswith("1.0000, largest difference")


def test_a_comparison_from_end_to_end(
    tiny_export: Callable[..., Export], feeds: str, tmp_path: Path
) -> None:
    done = tiny_export("token-classification", "BertForTokenClassification")
    comparison = Comparison(conditions(threads=1, seconds=0.1, lifetimes=2, cold_starts=1))
    bundle = {"kind": "bundle", "path": str(done.path), "target": None}
    bare = {
        "kind": "onnxruntime and tokenizers",
        "path": str(done.path),
        "graph": "onnxruntime.onnx",
        "tokenizer": "tokenizer.json",
    }

    def fail() -> dict[str, Any]:
        raise OSError("there is\nno room")

    comparison.add("ours", lambda: bundle)
    comparison.add("bare", lambda: bare)
    comparison.add("unmade", fail)
    comparison.add("absent", lambda: bundle, python=lambda: "/no/such/python")
    time_first_answers(
        list(comparison.contenders.values()),
        method="first_answer",
        request={"text": "the cat sat"},
        under=comparison.under,
        results=comparison.results,
    )
    texts = tmp_path / "texts.json"
    texts.write_text(json.dumps(["the cat sat", "a dog", "the cat"]), encoding="utf-8")
    workloads = [
        Workload(label="2x3", rows=2, request={"feeds": feeds}),
        Workload(label="texts", rows=3, request={"texts": str(texts), "each": 1}),
    ]
    comparison.time(workloads, Silent())
    ours = comparison.results["ours"]
    assert (ours.failure, ours.refusals) == (None, {})
    assert ours.timings["texts"].calls == 3
    assert (comparison.first_answer("ours") or 0) > 0
    assert comparison.first_answer_ratio("ours", "bare") is not None
    assert comparison.first_answer_ratio("ours", "ours") is None
    bare_result = comparison.results["bare"]
    assert bare_result.refusals["2x3"].startswith("LookupError: it answers texts alone")
    assert comparison.ratio("ours", "bare", "texts") is not None
    assert comparison.ratio("ours", "bare", "2x3") is None
    assert comparison.ratio("ours", "unmade", "2x3") is None
    assert comparison.fastest(["ours", "unmade"], "2x3") == "ours"
    assert comparison.results["unmade"].failure == "there is no room"
    assert "cannot be started" in (comparison.results["absent"].failure or "")
    assert len(comparison.failures) == 3
    rows = comparison.table(["2x3"])
    assert [row[0] for row in rows] == ["ours", "bare", "unmade", "absent"]
    assert [row[1] is None for row in rows] == [False, True, True, True]
    assert comparison.ask("unmade", "save_outputs", {}) is None
    answers = {"texts": str(texts), "answers": str(tmp_path / "answers.json")}
    assert comparison.ask("ours", "save_answers", answers) == {}
    assert len(json.loads((tmp_path / "answers.json").read_text())) == 3
    assert comparison.ask("ours", "no_such_method", {}) is None
    assert "AttributeError" in (comparison.results["ours"].failure or "")


@pytest.mark.parametrize(
    ("task", "head"),
    [
        ("token-classification", "BertForTokenClassification"),
        ("question-answering", "BertForQuestionAnswering"),
    ],
)
def test_feeds_have_their_shapes(
    task: str, head: str, tiny_export: Callable[..., Export], tmp_path: Path
) -> None:
    bundle = str(tiny_export(task, head).path)
    shapes = [[1, 4], [3, 8]]
    files = [str(tmp_path / f"{index}.npz") for index in range(len(shapes))]
    request = {"bundle": bundle, "shapes": shapes, "files": files, "ragged": True, "masked": False}
    call_apart(WORKERS / "feeds.py", "write_feeds", request, threads=1)
    with np.load(files[1]) as stored:
        assert stored["input_ids"].shape == (3, 8)
        assert stored["attention_mask"].sum(axis=1).max() == 8


def test_batches_keep_the_order_of_their_texts(
    tiny_export: Callable[..., Export], tmp_path: Path
) -> None:
    bundle = str(tiny_export("token-classification", "BertForTokenClassification").path)
    texts = tmp_path / "texts.json"
    texts.write_text(json.dumps(["the cat", "the cat sat again", "a"]), encoding="utf-8")
    batches = {
        "bundle": bundle,
        "texts": str(texts),
        "shapes": ["2x5"],
        "shape_files": [str(tmp_path / "2x5.npz")],
        "batches": str(tmp_path / "batches.npz"),
        "order": str(tmp_path / "order.npy"),
    }
    reply = call_apart(WORKERS / "feeds.py", "write_batches", batches, threads=1).reply
    assert reply == {"rows": 3}
    assert np.load(batches["order"]).tolist() == [1, 0, 2]
    with np.load(str(tmp_path / "2x5.npz")) as stored:
        assert stored["input_ids.0"].shape == (2, 5)


def test_calibration_rows_are_ours(tiny_export: Callable[..., Export], tmp_path: Path) -> None:
    bundle = str(tiny_export("multiple-choice", "BertForMultipleChoice").path)
    request = {"bundle": bundle, "rows": str(tmp_path / "rows.npz"), "most": 4}
    reply = call_apart(WORKERS / "feeds.py", "write_calibration_rows", request, threads=1).reply
    assert reply == {"rows": 4}
    with np.load(request["rows"]) as stored:
        assert stored["input_ids.3"].shape[:2] == (1, 1)  # a row of one choice


def test_profile_names_operators(
    tiny_export: Callable[..., Export], feeds: str, tmp_path: Path
) -> None:
    bundle = str(tiny_export("token-classification", "BertForTokenClassification").path)
    request = {
        "contender": {"kind": "bundle", "path": bundle, "target": None, "threads": 1},
        "feeds": feeds,
        "runs": 2,
        "prefix": str(tmp_path / "profile"),
    }
    job = call_apart(WORKERS / "profile_graph.py", "profile", request, threads=1)
    operators = {item["operator"]: item for item in job.reply["operators"]}
    assert "LayerNormalization" in operators
    assert sum(item["ms"] for item in operators.values()) > 0
    assert not list(tmp_path.glob("profile*"))


def test_profile_counts_a_body_once() -> None:
    def event(operator: str, start: int, duration: int) -> dict[str, Any]:
        return {
            "cat": "Node",
            "name": f"{operator}_kernel_time",
            "ts": start,
            "dur": duration,
            "args": {"op_name": operator},
        }

    events = [event("Add", 0, 1000), event("If", 1000, 5000), event("MatMul", 1500, 4000)]
    found = {item["operator"]: item["ms"] for item in summarize(events, runs=2)}
    assert found == {"MatMul": 2.0, "Add": 0.5, "If": 0.5}


def test_vectors_are_means_over_tokens_of_length_one() -> None:
    states = np.array([[[3.0, 0.0], [0.0, 4.0], [9.0, 9.0]]])  # (1, 3, 2)
    pooled = pool(states, np.array([[1, 1, 0]]))
    np.testing.assert_allclose(pooled, [[0.6, 0.8]])
    np.testing.assert_allclose(pool(np.array([[6.0, 8.0]]), np.array([[1, 1, 0]])), [[0.6, 0.8]])


def test_outputs_of_another_shape_are_told(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", logits=np.ones((2, 3)))
    np.savez(tmp_path / "b.npz", logits=np.ones((2, 4)))
    np.savez(tmp_path / "c.npz", other=np.ones(1))
    assert compare_outputs(tmp_path / "a.npz", tmp_path / "b.npz") == "logits of another shape"
    assert compare_outputs(tmp_path / "a.npz", tmp_path / "c.npz") == "nothing in common"


def test_every_opener_is_a_kind() -> None:
    assert "bundle" in OPENERS
    with pytest.raises(KeyError):
        open_contender({"kind": "nobody"})
