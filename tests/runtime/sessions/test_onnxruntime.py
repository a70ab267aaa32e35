"""ONNX Runtime behind the session interface: feeds are checked before the engine sees them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from bert_export.bundle import TensorSpec
from bert_export.errors import BundleError, InputError
from bert_export.runtime.sessions.onnxruntime import OnnxRuntimeSession
from bert_export.runtime.sessions.session import Session, check_feeds

GRAPH = """
<ir_version: 10, opset_import: ["" : 20]>
lookup (
    int64[batch, sequence] input_ids, int64[batch, sequence] attention_mask
) => (float[batch, sequence, 2] states, int64[batch] lengths)
<float[4, 2] table = {0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5}, int64[1] axis = {1}>
{
    states = Gather <axis = 0> (table, input_ids)
    lengths = ReduceSum <keepdims = 0> (attention_mask, axis)
}
"""
SPECS = (
    TensorSpec(name="input_ids", dtype="int64", shape=("batch", "sequence")),
    TensorSpec(name="attention_mask", dtype="int64", shape=("batch", "sequence")),
)


def save(folder: Path, text: str = GRAPH) -> Path:
    path = folder / "model.onnx"
    onnx.save(parser.parse_model(text), path)
    return path


@pytest.fixture
def session(tmp_path: Path) -> Iterator[OnnxRuntimeSession]:
    with OnnxRuntimeSession(save(tmp_path), threads=1) as opened:
        yield opened


def feeds(ids: Any = ((1, 2, 3), (3, 0, 0)), **others: Any) -> dict[str, Any]:
    array = np.array(ids, dtype=np.int64)
    return {"input_ids": array, "attention_mask": (array > 0).astype(np.int64)} | others


class TestCheckFeeds:
    def test_fits(self) -> None:
        check_feeds(SPECS, feeds())

    @pytest.mark.parametrize("missing", ["input_ids", "attention_mask"])
    def test_missing(self, missing: str) -> None:
        given_feeds = feeds()
        del given_feeds[missing]
        with pytest.raises(
            InputError,
            match=f"expected attention_mask, input_ids, got {next(iter(given_feeds))}",
        ):
            check_feeds(SPECS, given_feeds)

    @pytest.mark.parametrize("given_feeds", [None, 3, [1], "input_ids"])
    def test_no_mapping(self, given_feeds: Any) -> None:
        with pytest.raises(InputError, match="feeds are wrong: expected a mapping"):
            check_feeds(SPECS, given_feeds)

    def test_none(self) -> None:
        with pytest.raises(InputError, match="got none"):
            check_feeds(SPECS, {})

    @pytest.mark.parametrize("name", ["positions", 3])
    def test_unknown(self, name: Any) -> None:
        with pytest.raises(InputError, match=f"do not name the graph's inputs.*{name}"):
            check_feeds(SPECS, feeds() | {name: np.zeros((2, 3), dtype=np.int64)})

    @pytest.mark.parametrize(
        ("value", "got"),
        [
            (np.zeros((2, 3), dtype=np.int32), "int32"),
            (np.zeros((2, 3), dtype=np.float32), "float32"),
            (np.zeros((2, 3), dtype=">i8"), ">i8"),
            (np.zeros((2, 3), dtype=object), "object"),
            ([[1, 1, 1], [1, 0, 0]], "list"),
            (None, "NoneType"),
        ],
    )
    def test_dtype(self, value: Any, got: str) -> None:
        with pytest.raises(
            InputError,
            match=f"input attention_mask has the wrong dtype: .* array of int64, got {got}",
        ):
            check_feeds(SPECS, feeds(attention_mask=value))

    @pytest.mark.parametrize("shape", [(), (3,), (6,), (2, 3, 1), (1, 2, 3)])
    def test_rank(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(InputError, match="input input_ids has the wrong shape") as caught:
            check_feeds(SPECS, feeds(input_ids=np.zeros(shape, dtype=np.int64)))
        assert f"got {shape}" in str(caught.value)

    @pytest.mark.parametrize("shape", [(2, 4), (3, 3), (1, 1)])
    def test_axes_that_disagree(self, shape: tuple[int, ...]) -> None:
        text = "(batch, sequence) with {'batch': 2, 'sequence': 3}, got " + str(shape)
        with pytest.raises(InputError, match=re.escape(text)):
            check_feeds(SPECS, feeds(attention_mask=np.zeros(shape, dtype=np.int64)))

    def test_fixed_axis(self) -> None:
        spec = TensorSpec(name="x", dtype="float32", shape=("batch", 2))
        check_feeds((spec,), {"x": np.zeros((5, 2), dtype=np.float32)})
        with pytest.raises(InputError, match=r"expected \(batch, 2\).*got \(5, 3\)"):
            check_feeds((spec,), {"x": np.zeros((5, 3), dtype=np.float32)})

    @pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0, 0)])
    def test_empty(self, shape: tuple[int, ...]) -> None:
        empty = np.zeros(shape, dtype=np.int64)
        with pytest.raises(InputError, match="input input_ids is empty"):
            check_feeds(SPECS, {"input_ids": empty, "attention_mask": empty})


class TestRun:
    def test_answers(self, session: OnnxRuntimeSession) -> None:
        outputs = session.run(feeds())
        assert list(outputs) == ["states", "lengths"]
        assert outputs["states"].shape == (2, 3, 2)
        assert outputs["states"][0, 2].tolist() == [3.0, 3.5]
        assert outputs["lengths"].tolist() == [3, 1]

    def test_is_a_session(self, session: Session) -> None:
        assert session.inputs == SPECS
        assert session.outputs == (
            TensorSpec(name="states", dtype="float32", shape=("batch", "sequence", 2)),
            TensorSpec(name="lengths", dtype="int64", shape=("batch",)),
        )

    def test_any_batch_and_sequence(self, session: OnnxRuntimeSession) -> None:
        for shape in ((1, 1), (1, 512), (33, 7)):
            outputs = session.run(feeds(np.ones(shape, dtype=np.int64)))
            assert outputs["states"].shape == (*shape, 2)

    def test_memory_order_does_not_matter(self, session: OnnxRuntimeSession) -> None:
        ids = np.array([[1, 2, 3], [3, 0, 0]], dtype=np.int64)
        mirrored = np.ascontiguousarray(ids.T).T
        every_other = np.repeat(ids, 2, axis=1)[:, ::2]
        wanted = session.run(feeds(ids))["states"]
        for array in (mirrored, every_other):
            found = session.run({"input_ids": array, "attention_mask": array})
            assert np.array_equal(found["states"], wanted)

    def test_feeds_are_checked_first(self, session: OnnxRuntimeSession) -> None:
        with pytest.raises(InputError, match="do not name"):
            session.run({})

    @pytest.mark.parametrize("index", [4, -5, 2**40])
    def test_an_id_beyond_the_table(
        self, session: OnnxRuntimeSession, index: int, capfd: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(InputError, match="feeds make the graph fail"):
            session.run(feeds([[1, index]]))
        assert capfd.readouterr().err == ""
        assert session.run(feeds())["lengths"].tolist() == [3, 1]

    def test_several_threads(self, session: OnnxRuntimeSession) -> None:
        def run(index: int) -> list[float]:
            outputs = session.run(feeds([[index % 4] * (1 + index % 7)]))
            values: list[float] = outputs["states"][0, :, 0].tolist()
            return values

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(run, range(400)))
        assert answers == [[float(index % 4)] * (1 + index % 7) for index in range(400)]


class TestClose:
    def test_closed(self, session: OnnxRuntimeSession) -> None:
        session.close()
        session.close()
        with pytest.raises(InputError, match=r"session is closed\. Load the bundle again"):
            session.run(feeds())

    def test_context(self, tmp_path: Path) -> None:
        with OnnxRuntimeSession(save(tmp_path)) as opened:
            opened.run(feeds())
        with pytest.raises(InputError, match="session is closed"):
            opened.run(feeds())

    def test_a_run_that_is_under_way_finishes(self, tmp_path: Path) -> None:
        opened = OnnxRuntimeSession(save(tmp_path), threads=1)
        large = feeds(np.ones((64, 512), dtype=np.int64))

        def run(_: int) -> bool:
            try:
                return bool((opened.run(large)["lengths"] == 512).all())
            except InputError as error:
                return "session is closed" in str(error)

        with ThreadPoolExecutor(4) as pool:
            answers = pool.map(run, range(64))
            opened.close()
            assert all(answers)


class TestOpen:
    @pytest.mark.parametrize(
        ("providers", "message"),
        [
            (["NoSuchProvider"], "provider NoSuchProvider is not in this onnxruntime"),
            (["CPUExecutionProvider", "Nope"], "provider Nope is not in this onnxruntime"),
            ([], "providers is empty"),
        ],
    )
    def test_providers(self, tmp_path: Path, providers: list[str], message: str) -> None:
        with pytest.raises(InputError, match=message) as caught:
            OnnxRuntimeSession(save(tmp_path), providers=providers)
        assert "CPUExecutionProvider" in str(caught.value)

    @pytest.mark.parametrize("threads", [0, -1])
    def test_threads(self, tmp_path: Path, threads: int) -> None:
        with pytest.raises(InputError, match=f"threads is wrong: .* 1, got {threads}"):
            OnnxRuntimeSession(save(tmp_path), threads=threads)

    @pytest.mark.parametrize("content", [b"", b"not a graph", b"\x08\x0a" * 40])
    def test_corrupt(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "model.onnx"
        path.write_bytes(content)
        with pytest.raises(BundleError, match="cannot be opened by onnxruntime"):
            OnnxRuntimeSession(path)

    def test_truncated(self, tmp_path: Path) -> None:
        path = save(tmp_path)
        whole = path.read_bytes()
        for cut in range(len(whole)):
            path.write_bytes(whole[:cut])
            with pytest.raises(BundleError):
                OnnxRuntimeSession(path)

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(BundleError, match="cannot be opened") as caught:
            OnnxRuntimeSession(tmp_path / "model.onnx")
        assert "\n" not in str(caught.value)

    def test_weights_beside_it_are_missing(self, tmp_path: Path) -> None:
        path = save(tmp_path)
        model = onnx.load(path)
        table = model.graph.initializer[0]  # as raw bytes, for only those are stored outside
        table.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(table), table.name))
        onnx.save(
            model, path, save_as_external_data=True, location="model.onnx.data", size_threshold=0
        )
        OnnxRuntimeSession(path).close()
        (tmp_path / "model.onnx.data").unlink()
        with pytest.raises(BundleError, match=r"cannot be opened.*External data"):
            OnnxRuntimeSession(path)

    def test_unsupported_type(self, tmp_path: Path) -> None:
        text = '<ir_version: 10, opset_import: ["": 20]> g (uint16[N] few) => (uint16[N] same)'
        path = save(tmp_path, text + "{ same = Identity (few) }")
        with pytest.raises(BundleError, match=r"tensor few of an unsupported type.*uint16"):
            OnnxRuntimeSession(path)

    def test_axes_without_names(self, tmp_path: Path) -> None:
        text = '<ir_version: 10, opset_import: ["": 20]> g (int64[?, 2] x) => (int64[?, 2] y)'
        path = save(tmp_path, text + "{ y = Identity (x) }")
        with OnnxRuntimeSession(path) as opened:
            assert opened.inputs[0].shape == ("x.0", 2)
            x = np.ones((3, 2), dtype=np.int64)
            assert np.array_equal(opened.run({"x": x})["y"], x)

    def test_a_single_provider(self, tmp_path: Path) -> None:
        with OnnxRuntimeSession(save(tmp_path), providers="CPUExecutionProvider") as opened:
            assert opened.run(feeds())
        with pytest.raises(InputError, match="provider Nope is not in this onnxruntime"):
            OnnxRuntimeSession(save(tmp_path), providers="Nope")

    @pytest.mark.parametrize("threads", [1025, 2**31, 2**40])
    def test_too_many_threads(self, tmp_path: Path, threads: int) -> None:
        with pytest.raises(InputError, match=f"from 1 to 1024, got {threads}"):
            OnnxRuntimeSession(save(tmp_path), threads=threads)
