"""The shared file of weights: stored once, read by every graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from bert_export.targets.weights import WEIGHTS_FILE, WeightStore

ROWS = 300


def multiply(weight: np.ndarray, op_type: str = "MatMul") -> ir.Model:
    """``y = x @ weight`` (or another operator) of one initializer, as a graph of its own."""
    x = ir.Value(name="x", shape=ir.Shape(["n", ROWS]), type=ir.TensorType(ir.DataType.FLOAT))
    stored = ir.Value(name="weight", const_value=ir.tensor(weight, name="weight"))
    node = ir.node(op_type, [x, stored], outputs=[ir.Value(name="y")])
    node.outputs[0].dtype = ir.DataType.FLOAT
    graph = ir.Graph(
        [x], node.outputs, nodes=[node], initializers=[stored], opset_imports={"": 20}, name="g"
    )
    return ir.Model(graph, ir_version=10)


def run(path: Path, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.fixture
def weight() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((ROWS, ROWS)).astype(np.float32)


def test_equal_tensors_of_two_graphs_are_stored_once(tmp_path: Path, weight: np.ndarray) -> None:
    other = weight + 1
    with WeightStore(tmp_path) as store:
        store.save(multiply(weight), "a.onnx")
        once = store.size
        store.save(multiply(weight.copy()), "b.onnx")
        assert store.size == once == weight.nbytes
        store.save(multiply(other), "c.onnx")
        assert store.size > once + other.nbytes - 1
    x = np.ones((2, ROWS), dtype=np.float32)
    for name, wanted in (("a", weight), ("b", weight), ("c", other)):
        np.testing.assert_allclose(run(tmp_path / f"{name}.onnx", x), x @ wanted, rtol=1e-4)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.onnx",
        "b.onnx",
        "c.onnx",
        WEIGHTS_FILE,
    ]


def test_the_model_is_as_before(tmp_path: Path, weight: np.ndarray) -> None:
    model = multiply(weight)
    tensor = model.graph.initializers["weight"].const_value
    with WeightStore(tmp_path) as store:
        store.save(model, "a.onnx")
    assert model.graph.initializers["weight"].const_value is tensor


def test_small_tensors_stay_in_the_graph(tmp_path: Path) -> None:
    with WeightStore(tmp_path) as store:
        store.save(multiply(np.ones((ROWS,), dtype=np.float32)[:1], "Mul"), "a.onnx")
        assert store.size == 0
    x = np.ones((1, ROWS), dtype=np.float32)
    np.testing.assert_array_equal(run(tmp_path / "a.onnx", x), x)


def test_large_tensors_begin_on_a_page(tmp_path: Path, weight: np.ndarray) -> None:
    large = np.zeros((ROWS, 1000), dtype=np.float32)
    with WeightStore(tmp_path) as store:
        store.save(multiply(weight[:, :1]), "a.onnx")
        store.save(multiply(large), "b.onnx")
    loaded = ir.load(tmp_path / "b.onnx").graph.initializers["weight"].const_value
    assert isinstance(loaded, ir.ExternalTensor)
    assert (loaded.offset or 0) % 4096 == 0
