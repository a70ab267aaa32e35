"""What every session promises, whatever engine is behind it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import parser

from bert_export.bundle import EngineRecord, GraphRecord, TensorSpec
from bert_export.errors import BundleError, InputError, MissingExtraError, TargetError
from bert_export.runtime.sessions import open_session
from bert_export.runtime.sessions.session import Feeds, Outputs, Session, check_feeds
from bert_export.target_table import TARGETS

TABLE = np.linspace(-1.0, 1.0, 12, dtype=np.float32).reshape(6, 2)
"""Six rows of two numbers: ids are looked up in it."""

GRAPH = f"""
<ir_version: 10, opset_import: ["" : 20]>
lookup (
    int64[batch, sequence] input_ids,
    int64[batch, sequence] attention_mask,
    int64[masked] masked_positions
) => (float[batch, sequence, 2] states, float[batch, 2] sums, float[masked, 2] picked)
<
    float[6, 2] table = {{{", ".join(map(str, TABLE.reshape(-1).tolist()))}}},
    int64[1] middle = {{1}}, int64[1] last = {{-1}}, int64[2] flat = {{-1, 2}}
>
{{
    rows = Gather <axis = 0> (table, input_ids)
    visible = Cast <to = 1> (attention_mask)
    weights = Unsqueeze (visible, last)
    states = Mul (rows, weights)
    sums = ReduceSum <keepdims = 0> (states, middle)
    tokens = Reshape (states, flat)
    picked = Gather <axis = 0> (tokens, masked_positions)
}}
"""
RECORD = GraphRecord(
    file="graph.onnx",
    opset=20,
    inputs=(
        TensorSpec(name="input_ids", dtype="int64", shape=("batch", "sequence"), below=6),
        TensorSpec(name="attention_mask", dtype="int64", shape=("batch", "sequence")),
        TensorSpec(name="masked_positions", dtype="int64", shape=("masked",)),
    ),
    outputs=(
        TensorSpec(name="states", dtype="float32", shape=("batch", "sequence", 2)),
        TensorSpec(name="sums", dtype="float32", shape=("batch", 2)),
        TensorSpec(name="picked", dtype="float32", shape=("masked", 2)),
    ),
)


def answer(feeds: Feeds) -> Outputs:
    """What the graph computes, in numpy."""
    states = TABLE[feeds["input_ids"]] * feeds["attention_mask"][..., None].astype(np.float32)
    return {
        "states": states,
        "sums": states.sum(axis=1),
        "picked": states.reshape(-1, 2)[feeds["masked_positions"]],
    }


class NumpySession(Session):
    """The smallest session that keeps the promises; needs no engine."""

    def __init__(self, graph: GraphRecord) -> None:
        self.inputs, self.outputs = graph.inputs, graph.outputs
        self._open = True

    def run(self, feeds: Feeds) -> Outputs:
        if not self._open:
            raise InputError("session is closed", fix="Load the bundle again")
        check_feeds(self.inputs, feeds)
        return answer(feeds)

    def close(self) -> None:
        self._open = False


def engine(target: str) -> EngineRecord:
    return EngineRecord(target=target, precision="fp32", graph=RECORD)


def of_target(target: str, extra: str | None = None, **options: Any) -> Callable[[Path], Session]:
    def open_in(folder: Path) -> Session:
        if extra is not None:
            pytest.importorskip(extra)
        onnx.save(parser.parse_model(GRAPH), folder / RECORD.file)
        return open_session(folder, engine(target), threads=1, **options)

    return open_in


OPENERS: dict[str, Callable[[Path], Session]] = {
    "numpy": lambda _: NumpySession(RECORD),
    "onnxruntime": of_target("onnxruntime"),
    "openvino": of_target("openvino", "openvino"),
    "openvino throughput": of_target("openvino", "openvino", hint="throughput"),
    "openvino shapes": of_target("openvino", "openvino", shapes=[(2, 3), (1, 1), (32, 256)]),
}


@pytest.fixture(scope="module", params=list(OPENERS))
def opener(request: pytest.FixtureRequest) -> Callable[[Path], Session]:
    return OPENERS[request.param]


@pytest.fixture(scope="module")
def shared(
    opener: Callable[[Path], Session], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Session]:
    with opener(tmp_path_factory.mktemp("shared")) as session:
        yield session


def feeds(batch: int = 2, sequence: int = 3, masked: tuple[int, ...] = (0, 4)) -> dict[str, Any]:
    ids = np.arange(batch * sequence, dtype=np.int64).reshape(batch, sequence) % len(TABLE)
    return {
        "input_ids": ids,
        "attention_mask": (ids % 3 > 0).astype(np.int64),
        "masked_positions": np.array(masked, dtype=np.int64),
    }


def same(found: Outputs, wanted: Outputs) -> None:
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        assert isinstance(found[name], np.ndarray)
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-6)


class TestRun:
    def test_named_arrays_in_and_out(self, shared: Session) -> None:
        same(shared.run(feeds()), answer(feeds()))

    def test_tells_its_interface(self, shared: Session) -> None:
        assert shared.outputs == RECORD.outputs
        for spec, wanted in zip(shared.inputs, RECORD.inputs, strict=True):
            assert (spec.name, spec.dtype, spec.shape) == (wanted.name, wanted.dtype, wanted.shape)

    @settings(
        max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(st.integers(1, 9), st.integers(1, 40), st.integers(0, 9))
    def test_any_shape(self, shared: Session, batch: int, sequence: int, masked: int) -> None:
        given_feeds = feeds(
            batch, sequence, tuple(index % (batch * sequence) for index in range(masked))
        )
        same(shared.run(given_feeds), answer(given_feeds))

    def test_nothing_is_masked(self, shared: Session) -> None:
        found = shared.run(feeds(masked=()))
        same(found, answer(feeds(masked=())))
        assert found["picked"].shape == (0, 2)
        same(shared.run(feeds()), answer(feeds()))  # and the next run has masks again

    def test_outputs_are_the_callers_own(self, shared: Session) -> None:
        first = shared.run(feeds())
        kept = {name: array.copy() for name, array in first.items()}
        shared.run(feeds(masked=(1, 2, 3)) | {"input_ids": np.full((2, 3), 5)})
        same(first, kept)

    def test_feeds_are_left_as_they_are(self, shared: Session) -> None:
        given_feeds = feeds()
        kept = {name: array.copy() for name, array in given_feeds.items()}
        shared.run(given_feeds)
        assert all(np.array_equal(given_feeds[name], array) for name, array in kept.items())

    def test_memory_order_does_not_matter(self, shared: Session) -> None:
        given_feeds = feeds()
        mirrored = np.ascontiguousarray(given_feeds["input_ids"].T).T
        every_other = np.repeat(given_feeds["input_ids"], 2, axis=1)[:, ::2]
        read_only = given_feeds["input_ids"].copy()
        read_only.flags.writeable = False
        for ids in (mirrored, every_other, read_only):
            same(shared.run(given_feeds | {"input_ids": ids}), answer(given_feeds))


class TestRefusals:
    """Each message says what was expected and what was received."""

    @pytest.mark.parametrize("name", [spec.name for spec in RECORD.inputs])
    def test_missing(self, shared: Session, name: str) -> None:
        given_feeds = feeds()
        del given_feeds[name]
        expected = ", ".join(sorted(feeds()))
        got = ", ".join(sorted(given_feeds))
        with pytest.raises(InputError, match=f"inputs: expected {expected}, got {got}"):
            shared.run(given_feeds)

    def test_unknown(self, shared: Session) -> None:
        with pytest.raises(InputError, match=r"expected attention_mask.*got.*positions_of"):
            shared.run(feeds() | {"positions_of": np.zeros((2, 3), dtype=np.int64)})

    @pytest.mark.parametrize("dtype", ["int32", "float32", "bool", "uint64"])
    def test_dtype(self, shared: Session, dtype: str) -> None:
        wrong = feeds()["attention_mask"].astype(dtype)
        with pytest.raises(InputError, match=f"attention_mask.*dtype.*of int64, got {dtype}"):
            shared.run(feeds() | {"attention_mask": wrong})

    def test_no_array(self, shared: Session) -> None:
        with pytest.raises(InputError, match=r"input_ids.*expected a numpy array.*got list"):
            shared.run(feeds() | {"input_ids": [[1, 2, 3], [4, 5, 0]]})

    @pytest.mark.parametrize("shape", [(2, 4), (3, 3), (2,), (2, 3, 1)])
    def test_shape(self, shared: Session, shape: tuple[int, ...]) -> None:
        wrong = np.zeros(shape, dtype=np.int64)
        text = "expected (batch, sequence) with {'batch': 2, 'sequence': 3}, got " + str(shape)
        with pytest.raises(InputError, match=re.escape(text)):
            shared.run(feeds() | {"attention_mask": wrong})

    @pytest.mark.parametrize("shape", [(0, 3), (2, 0)])
    def test_empty(self, shared: Session, shape: tuple[int, int]) -> None:
        empty = np.zeros(shape, dtype=np.int64)
        with pytest.raises(InputError, match="input_ids is empty"):
            shared.run(feeds() | {"input_ids": empty, "attention_mask": empty})

    @pytest.mark.parametrize("index", [6, 2**40, -7, -(2**62)])
    def test_id_without_a_row(self, shared: Session, index: int) -> None:
        ids = feeds()["input_ids"]
        ids[1, 2] = index
        with pytest.raises(InputError, match=str(index)):
            shared.run(feeds() | {"input_ids": ids})
        same(shared.run(feeds()), answer(feeds()))


class TestThreads:
    def test_eight_callers(self, shared: Session) -> None:
        cases = [feeds(1 + index % 5, 1 + index % 11, (0,) * (index % 3)) for index in range(160)]
        with ThreadPoolExecutor(8) as pool:
            for case, found in zip(cases, pool.map(shared.run, cases), strict=True):
                same(found, answer(case))

    def test_an_error_of_one_hurts_no_other(self, shared: Session) -> None:
        def run(index: int) -> bool:
            if index % 4:
                same(shared.run(feeds()), answer(feeds()))
                return True
            with pytest.raises(InputError):
                shared.run(feeds() | {"input_ids": np.full((2, 3), 6)})
            return True

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(run, range(64)))


class TestClose:
    def test_twice(self, opener: Callable[[Path], Session], tmp_path: Path) -> None:
        session = opener(tmp_path)
        session.run(feeds())
        session.close()
        session.close()
        with pytest.raises(InputError, match=r"session is closed\. Load the bundle again"):
            session.run(feeds())

    def test_context(self, opener: Callable[[Path], Session], tmp_path: Path) -> None:
        with opener(tmp_path) as session:
            session.run(feeds())
        with pytest.raises(InputError, match="session is closed"):
            session.run(feeds())

    def test_under_load(self, opener: Callable[[Path], Session], tmp_path: Path) -> None:
        session = opener(tmp_path)
        large = feeds(32, 256)

        def run(_: int) -> bool:
            try:
                same(session.run(large), answer(large))
            except InputError as error:
                return "session is closed" in str(error)
            return True

        with ThreadPoolExecutor(8) as pool:
            answers = pool.map(run, range(64))
            session.close()
            assert all(answers)


@pytest.mark.parametrize("target", list(TARGETS))
class TestOpen:
    def test_unknown_option(self, tmp_path: Path, target: str) -> None:
        with pytest.raises(InputError, match=f"option speed means nothing to target {target}"):
            open_session(tmp_path, engine(target), speed="high")

    def test_no_graph(self, tmp_path: Path, target: str) -> None:
        """What is missing first is told: the graph, the package, or the GPU."""
        with pytest.raises((BundleError, InputError, MissingExtraError, TargetError)) as caught:
            open_session(tmp_path, engine(target))
        assert "\n" not in str(caught.value)


def test_unknown_target(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"target abacus cannot be run: expected one of onnxrun"):
        open_session(tmp_path, engine("abacus"))
