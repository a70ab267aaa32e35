"""The wire format of graph files is read as the onnx package reads it; other bytes are refused."""

from __future__ import annotations

import contextlib
from pathlib import Path

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from bert_export.bundle.graph_file import read_graph_file
from bert_export.errors import BundleError

DTYPES = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "float16": TensorProto.FLOAT16}
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)
AXES = st.lists(st.one_of(st.integers(1, 2**40), NAMES), max_size=4)


def external(name: str, location: str) -> onnx.TensorProto:
    """A tensor whose numbers lie in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[2])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "8")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def field(number: int, content: bytes) -> bytes:
    """A field of a message, on the wire."""
    sizes, size = bytearray(), len(content)
    while size >= 0x80:
        sizes.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([number << 3 | 2, *sizes, size]) + content


def graph_of(*tensors: onnx.TensorProto) -> onnx.GraphProto:
    return helper.make_graph([], "inner", [], [], initializer=tensors)


def model_of(graph: onnx.GraphProto) -> onnx.ModelProto:
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def save(folder: Path, model: onnx.ModelProto) -> Path:
    path = folder / "graph.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(NAMES, st.sampled_from(sorted(DTYPES)), AXES), max_size=5),
    st.integers(0, 5),
)
def test_interface(tmp_path: Path, tensors: list[tuple[str, str, list[int | str]]], cut: int):
    values = [
        helper.make_tensor_value_info(name, DTYPES[kind], axes) for name, kind, axes in tensors
    ]
    graph = helper.make_graph([], "g", values[:cut], values[cut:])
    read = read_graph_file(save(tmp_path, model_of(graph)))
    wanted = [(name, kind, tuple(axes)) for name, kind, axes in tensors]
    for specs, expected in ((read.inputs, wanted[:cut]), (read.outputs, wanted[cut:])):
        assert [(spec.name, spec.dtype, spec.shape) for spec in specs] == expected
    assert read.data_files == frozenset()


def test_an_axis_without_a_name_gets_its_own(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 3, None])
    read = read_graph_file(save(tmp_path, model_of(helper.make_graph([], "g", [value], []))))
    assert read.inputs[0].shape == ("x.0", 3, "x.2")


def test_weight_files_wherever_they_are_named(tmp_path: Path) -> None:
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=external("c", "in a node of a branch"))],
        "branch",
        [],
        [],
        initializer=[external("d", "in a branch")],
    )
    sparse = onnx.SparseTensorProto(values=external("v", "sparse values"), dims=[4])
    sparse.indices.CopyFrom(external("i", "sparse indices"))
    nodes = [
        helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=graph_of()),
        helper.make_node("Many", [], ["z"], tensors=[external("a", "a list"), external("b", "b")]),
        helper.make_node("Graphs", [], ["u"], graphs=[graph_of(external("e", "of graphs"))]),
        helper.make_node("Sparse", [], ["w"], sparse_value=sparse),
    ]
    graph = helper.make_graph(nodes, "g", [], [], initializer=[external("t", "weights.data")])
    graph.sparse_initializer.append(sparse)
    model = model_of(graph)
    function = model.functions.add(name="f", domain="d")
    function.node.append(helper.make_node("Constant", [], ["c"], value=external("c", "function")))
    assert read_graph_file(save(tmp_path, model)).data_files == {
        "weights.data",
        "in a node of a branch",
        "in a branch",
        "sparse values",
        "sparse indices",
        "a list",
        "b",
        "of graphs",
        "function",
    }


@pytest.fixture(scope="module")
def content() -> bytes:
    values = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
        for name in ("input_ids", "attention_mask")
    ]
    node = helper.make_node("Constant", [], ["c"], value=external("c", "weights.data"))
    graph = helper.make_graph([node], "g", values, values, initializer=[external("t", "other")])
    return model_of(graph).SerializeToString()


class TestRefusals:
    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(BundleError, match=r"graph .*gone.onnx cannot be read: .*No such file"):
            read_graph_file(tmp_path / "gone.onnx")

    @pytest.mark.parametrize("text", [b"", b"not a graph", b"\x08\x0a" * 40, b"\x3a\x7f", b"\xff"])
    def test_no_graph(self, tmp_path: Path, text: bytes) -> None:
        path = tmp_path / "graph.onnx"
        path.write_bytes(text)
        with pytest.raises(BundleError, match="cannot be read: expected a readable ONNX graph"):
            read_graph_file(path)

    def test_nested_without_end(self, tmp_path: Path) -> None:
        """More than the onnx package itself writes or reads."""
        graph = graph_of(external("t", "w")).SerializeToString()
        for _ in range(40):
            graph = field(1, field(5, field(6, graph)))  # node, attribute, graph
        path = tmp_path / "graph.onnx"
        path.write_bytes(field(7, graph))
        with pytest.raises(BundleError, match="nested too deeply"):
            read_graph_file(path)

    def test_an_input_that_is_no_tensor(self, tmp_path: Path) -> None:
        value = helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, None)
        with pytest.raises(BundleError, match="x is no tensor"):
            read_graph_file(save(tmp_path, model_of(helper.make_graph([], "g", [value], []))))

    @settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.data())
    def test_damaged_bytes_are_read_or_refused(
        self, tmp_path: Path, content: bytes, data: st.DataObject
    ) -> None:
        damaged = bytearray(content[: data.draw(st.integers(0, len(content)))])
        for _ in range(data.draw(st.integers(0, 4))):
            if damaged:
                place = data.draw(st.integers(0, len(damaged) - 1))
                damaged[place] = data.draw(st.integers(0, 255))
        path = tmp_path / "graph.onnx"
        path.write_bytes(bytes(damaged))
        with contextlib.suppress(BundleError):  # and nothing else may be raised
            read_graph_file(path)
