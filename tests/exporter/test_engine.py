"""An engine per target: written, verified, or refused without a trace of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from bert_export.errors import BundleError, VerificationError
from bert_export.exporter.calibrate import Calibrated, calibrate
from bert_export.exporter.engine import (
    Engine,
    Reference,
    answer_reference,
    open_trial,
    verify_engines,
    write_engines,
)
from bert_export.exporter.float_graph import FloatGraph
from bert_export.exporter.progress import Progress
from bert_export.exporter.refusal import Refusals
from bert_export.exporter.request import find_targets
from bert_export.targets import TARGETS, load_target
from bert_export.targets.weights import WEIGHTS_FILE
from tests.exporter.conftest import RecordingListener

pytest.importorskip("openvino")

BOTH = ("onnxruntime", "openvino")


@pytest.fixture
def calibrated(graph_of: Callable[..., FloatGraph], tmp_path: Path) -> Callable[..., Calibrated]:
    def make(**options: object) -> Calibrated:
        graph = graph_of(**options)
        return calibrate(
            graph,
            find_targets(graph.source.request),
            folder=tmp_path,
            progress=Progress(),
            refusals=Refusals(),
        )

    return make


def written(calibrated: Calibrated, folder: Path) -> tuple[Engine, ...]:
    folder.mkdir(exist_ok=True)
    return write_engines(calibrated, folder=folder, progress=Progress(), refusals=Refusals())


def reference_of(calibrated: Calibrated) -> Reference:
    graph = calibrated.float_graph
    return answer_reference(
        graph.source, graph.pipeline, graph.unseen, graph.rows, progress=Progress()
    )


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_targets_are_written_and_verified_from_one_graph(
    precision: str,
    calibrated: Callable[..., Calibrated],
    listener: RecordingListener,
    tmp_path: Path,
) -> None:
    both = calibrated(precision=precision, targets=BOTH)
    nodes = len(both.float_graph.model.graph)
    progress, refusals = Progress(listener), Refusals()
    unverified = write_engines(both, folder=tmp_path, progress=progress, refusals=refusals)
    assert [engine.target.name for engine in unverified] == list(BOTH)
    assert [engine.record.parity for engine in unverified] == [None, None]
    assert sorted(content(tmp_path)) == ["onnxruntime.onnx", "openvino.onnx", WEIGHTS_FILE]
    engines = verify_engines(
        unverified, reference_of(both), folder=tmp_path, progress=progress, refusals=refusals
    )
    for record in (engine.record for engine in engines):
        onnx.checker.check_model(str(tmp_path / record.graph.file))
        assert record.parity is not None
        assert record.parity.agreement >= record.parity.min_agreement
        assert (record.quantization is not None) is (precision == "int8")
    steps = ["quantize", "write"] if precision == "int8" else ["write"]
    assert listener.stages == [*steps, *steps, "verify", "verify"]
    assert len(both.float_graph.model.graph) == nodes  # it is for others too


def test_an_engine_that_answers_otherwise_is_refused(
    calibrated: Callable[..., Calibrated], tmp_path: Path
) -> None:
    alone = calibrated()
    engines, right = written(alone, tmp_path), reference_of(alone)
    wrong = Reference(
        right.source,
        tuple(
            (case, {name: -array for name, array in outputs.items()})
            for case, outputs in right.answers
        ),
    )
    with pytest.raises(VerificationError, match="graph differs from the PyTorch head"):
        verify_engines(engines, wrong, folder=tmp_path, progress=Progress(), refusals=Refusals())


def test_int8_that_gives_other_answers_is_refused(
    calibrated: Callable[..., Calibrated], tmp_path: Path
) -> None:
    alone = calibrated(precision="int8")
    engines, right = written(alone, tmp_path), reference_of(alone)
    wrong = Reference(
        right.source,
        tuple(
            (case, {name: np.roll(array, 1, axis=-1) for name, array in outputs.items()})
            for case, outputs in right.answers
        ),
    )
    with pytest.raises(VerificationError, match=r"gives other answers .*label agreement"):
        verify_engines(engines, wrong, folder=tmp_path, progress=Progress(), refusals=Refusals())


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_an_engine_that_is_left_out_leaves_no_weights(
    precision: str, calibrated: Callable[..., Calibrated], tmp_path: Path
) -> None:
    """The folder is then what an export of the others alone writes, byte for byte."""
    folder, alone = tmp_path / "both", tmp_path / "alone"
    both = calibrated(precision=precision, targets=("openvino", "onnxruntime"))
    engines = written(both, folder)
    (folder / "openvino.onnx").write_bytes(b"damaged")
    refusals = Refusals(tolerated=True)
    (engine,) = verify_engines(
        engines, reference_of(both), folder=folder, progress=Progress(), refusals=refusals
    )
    assert engine.target.name == "onnxruntime"
    ((refusal),) = refusals.refusals
    assert refusal.target == "openvino"
    assert isinstance(refusal.error, BundleError)
    written(replace(both, targets=(TARGETS["onnxruntime"],)), alone)
    assert content(folder) == content(alone)


def test_further_graphs_find_the_weights_that_are_there(
    calibrated: Callable[..., Calibrated], tmp_path: Path
) -> None:
    first, second = calibrated(), calibrated(targets=("openvino",))
    written(first, tmp_path)
    before = content(tmp_path)[WEIGHTS_FILE]
    write_engines(
        second,
        folder=tmp_path,
        progress=Progress(),
        refusals=Refusals(),
        graphs=["onnxruntime.onnx"],
    )
    after = content(tmp_path)[WEIGHTS_FILE]
    assert after.startswith(before)
    assert len(after) <= len(before) + len(before) // 50


def test_a_trial_is_what_would_be_written_and_leaves_nothing(
    calibrated: Callable[..., Calibrated], tmp_path: Path
) -> None:
    both = calibrated(precision="int8", targets=BOTH)
    folder, scratch = tmp_path / "bundle", tmp_path / "scratch"
    scratch.mkdir()
    engines = written(both, folder)
    feeds = {
        name: np.ones((1, 4), dtype=np.int64)
        for name in ("input_ids", "attention_mask", "token_type_ids")
    }
    for engine in engines:
        module = load_target(engine.target)
        with module.open_written(folder, engine.record, threads=1) as session:
            expected = session.run(feeds)["logits"]
        with open_trial(both, engine.target, folder=scratch) as session:
            np.testing.assert_array_equal(session.run(feeds)["logits"], expected)
        assert list(scratch.iterdir()) == []
