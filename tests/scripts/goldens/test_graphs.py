"""The golden graphs: what is emitted is what was reviewed."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from bert_export.bundle.program import PROGRAM_SUFFIX
from bert_export.explanation import STAGES
from bert_export.explanation.stages import price_stages
from bert_export.targets import TARGETS
from scripts.goldens.folder import (
    GRAPHS,
    UPDATE,
    diff,
    expected_files,
    golden_name,
    stale_files,
    traced_elsewhere,
)
from scripts.goldens.recipes import distinct_recipes
from scripts.goldens.text import graph_text
from scripts.goldens.tiny import SIZES, TinyTrace
from scripts.goldens.update_graphs import main
from tests.support import ONE_GRAPH

pytestmark = pytest.mark.long


@cache
def tiny_trace(task: str) -> TinyTrace:
    """Traced once for all tests of a process."""
    return TinyTrace(ONE_GRAPH[task])


@pytest.mark.parametrize("task", sorted(ONE_GRAPH))
def test_graphs_are_as_reviewed(task: str) -> None:
    changes = []
    for name, new in expected_files(tiny_trace(task)):
        path = GRAPHS / name
        old = path.read_text(encoding="utf-8") if path.is_file() else ""
        if not traced_elsewhere(old, new) or not old:
            changes.append(diff(name, old, new))
    changed = "".join(changes)
    if changed:
        pytest.fail(
            f"emitted graphs differ from graphs/; if that is meant, run: {UPDATE} --task {task}\n"
            f"{changed}",
            pytrace=False,
        )


@pytest.mark.parametrize("task", sorted(ONE_GRAPH))
def test_every_graph_can_be_explained(task: str, tmp_path: Path) -> None:
    axes = {"batch": 2, "choices": 3, "sequence": 5, "masked": 4, "past": 3, "total": 8}
    for target, precision in distinct_recipes():
        if TARGETS[target].suffix == PROGRAM_SUFFIX:
            continue  # tests/explanation/test_programs.py prices programs
        path = tmp_path / f"{target}.{precision}.onnx"
        ir.save(tiny_trace(task).emitted(target, precision), path)
        costs = price_stages(path, axes=axes, layers=2)
        assert {stage for _, stage in costs} <= set(STAGES)
        for layer in range(2):
            for stage in ("attention", "feed-forward", "normalization"):
                assert costs[layer, stage].flop + costs[layer, stage].integer_op > 0
        products = sum(cost.integer_op for cost in costs.values())
        assert (products > 0) == (precision == "int8")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("task", sorted(ONE_GRAPH))
def test_a_session_with_default_options_answers_bit_for_bit(
    task: str, precision: str, tmp_path: Path
) -> None:
    path = tmp_path / "graph.onnx"
    ir.save(tiny_trace(task).emitted("onnxruntime", precision), path)
    basic = onnxruntime.SessionOptions()
    basic.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    ours, theirs = onnxruntime.InferenceSession(path, basic), onnxruntime.InferenceSession(path)
    feeds = _padded_rows(ours.get_inputs())
    for kept, optimized in zip(ours.run(None, feeds), theirs.run(None, feeds), strict=True):
        assert np.array_equal(kept, optimized)


def _padded_rows(nodes: list[onnxruntime.NodeArg]) -> dict[str, NDArray[Any]]:
    """Two rows of six tokens, of which the last two are padding; behind three where it can be."""
    random, axes = np.random.default_rng(0), {"batch": 2, "choices": 3, "past": 3, "total": 9}
    feeds: dict[str, NDArray[Any]] = {}
    for node in nodes:
        shape = [axis if isinstance(axis, int) else axes.get(axis, 6) for axis in node.shape]
        whole = node.type == "tensor(int64)"
        feeds[node.name] = np.zeros(shape, np.int64) if whole else random.random(shape, np.float32)
    feeds["input_ids"] = random.integers(SIZES["vocab_size"], size=feeds["input_ids"].shape)
    feeds["attention_mask"][..., :-2] = 1
    return feeds


def test_no_golden_graph_is_left_over() -> None:
    assert stale_files(GRAPHS) == []


def test_every_form_has_a_graph_of_every_task() -> None:
    files = {path.name for path in GRAPHS.glob("*.txt")}
    assert files == {
        golden_name(task, target, precision)
        for task in ONE_GRAPH
        for target, precision in distinct_recipes()
    }


def test_the_script_tells_a_difference_and_writes_nothing(tmp_path: Path) -> None:
    name = "token-classification.onnxruntime.fp32.onnx.txt"
    altered = (GRAPHS / name).read_text(encoding="utf-8").replace("Attention(", "Inattention(")
    (tmp_path / name).write_text(altered, encoding="utf-8")
    only = ["--task", "token-classification", "--folder", str(tmp_path)]
    checked = CliRunner().invoke(main, [*only, "--check"])
    assert checked.exit_code == 1
    assert "Inattention(" in checked.stdout
    assert UPDATE in checked.stderr
    assert (tmp_path / name).read_text(encoding="utf-8") == altered
    assert not (tmp_path / "traced").exists()
    updated = CliRunner().invoke(main, only)
    assert updated.exit_code == 0
    assert f"changed  {name}" in updated.stdout
    reviewed = (GRAPHS / name).read_text(encoding="utf-8")
    assert (tmp_path / name).read_text(encoding="utf-8") == reviewed


def small_graph(prefix: str) -> ir.Model:
    """Two nodes whose anonymous names start with ``prefix``."""
    x = ir.Value(name="x", shape=ir.Shape(["batch", 2]), type=ir.TensorType(ir.DataType.FLOAT))
    half = ir.Value(name=f"{prefix}_c", const_value=ir.tensor(0.5))
    scale = ir.Value(name=f"{prefix}_1.scale", const_value=ir.tensor(0.25))
    mul = ir.node("Mul", [x, half], name=f"{prefix}_n1")
    mul.outputs[0].name = f"{prefix}_1"
    add = ir.node("Add", [mul.outputs[0], scale], {"factor": 0.1}, name=f"{prefix}_n2")
    add.outputs[0].name = "y"
    graph = ir.Graph(
        [x], [add.outputs[0]], nodes=[mul, add], initializers=[half, scale],
        opset_imports={"": 23},
    )  # fmt: skip
    return ir.Model(graph, ir_version=10)


def test_names_of_the_tracer_do_not_show() -> None:
    text = graph_text(small_graph("val_17"), "small")
    assert text == graph_text(small_graph("linear_3"), "small")
    assert "17" not in text
    assert "= Mul(x, 0.5)" in text
    assert "= Add(Mul_1, Mul_1.scale) factor=0.1" in text


def test_weights_are_written_without_values() -> None:
    model = tiny_trace("question-answering").emitted("onnxruntime", "int8")
    before = graph_text(model, "one")
    for name, value in model.graph.initializers.items():
        content = value.const_value
        if "." in name and content is not None and content.dtype == ir.DataType.FLOAT:
            value.const_value = ir.tensor(content.numpy() * 2, name=value.name)
    assert graph_text(model, "one") == before
