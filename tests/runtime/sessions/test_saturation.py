"""8-bit weights on a processor that adds products in 16 bits: right, if slower."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from bert_export.bundle import read_manifest
from bert_export.exporter import Export
from bert_export.runtime.processor import PROCESSORS
from bert_export.runtime.sessions import onnxruntime as sessions
from bert_export.runtime.sessions.onnxruntime import OnnxRuntimeSession

MIDDLE = 128
SIZE = 64


def save_product(path: Path, weight: np.ndarray[Any, np.dtype[np.int8]]) -> Path:
    """A linear layer as the recipes write it, with scales of 1."""
    arrays = {
        "w": weight,
        "x_scale": np.float32(1),
        "w_scale": np.ones(SIZE, np.float32),
        "x_zero": np.uint8(MIDDLE),
        "w_zero": np.zeros(SIZE, np.int8),
    }
    inputs = ["levels", "w", "x_scale", "w_scale", "x_zero", "w_zero"]
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "x_scale", "x_zero"], ["levels"]),
            helper.make_node("MatMulIntegerToFloat", inputs, ["y"], domain="com.microsoft"),
        ],
        "product",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", SIZE])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", SIZE])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


def test_the_largest_products_are_exact(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weight = rng.choice(np.array([-127, 127], np.int8), (SIZE, SIZE))
    x = rng.choice(np.array([-MIDDLE, MIDDLE - 1], np.float32), (5, SIZE))
    path = save_product(tmp_path / "product.onnx", weight)
    with OnnxRuntimeSession(path, threads=1, unsaturated=True) as session:
        y = session.run({"x": x})["y"]
    assert np.array_equal(y, x @ weight.astype(np.float32))


@pytest.mark.parametrize("here", PROCESSORS)
@pytest.mark.parametrize("made_for", PROCESSORS)
def test_a_bundle_for_vnni_asks_for_them_where_there_is_none(
    made_for: str, here: str, embedding_int8: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = read_manifest(embedding_int8.path).engine()
    assert engine.quantization is not None
    plan = msgspec.structs.replace(engine.quantization, processor=made_for)
    asked = []
    start = sessions.start_engine

    def listen(path: Path, **options: Any) -> Any:
        asked.append(options["unsaturated"])
        return start(path, **options)

    monkeypatch.setattr(sessions, "start_engine", listen)
    monkeypatch.setattr(sessions, "detect_processor", lambda: here)
    engine = msgspec.structs.replace(engine, quantization=plan)
    sessions.open_engine(embedding_int8.path, engine, threads=1).close()
    assert asked == [(made_for, here) == ("x86-64-vnni", "x86-64")]
