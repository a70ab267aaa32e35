"""What real text tells of the float graph, in each precision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bert_export.bundle import QuantizationOptions
from bert_export.exporter.calibrate import Calibrated, calibrate, scheme_of
from bert_export.exporter.float_graph import FloatGraph
from bert_export.exporter.progress import Progress
from bert_export.exporter.refusal import Refusals
from bert_export.exporter.request import find_targets
from bert_export.targets import TARGETS
from tests.exporter.conftest import RecordingListener

LAYER = "bert.encoder.layer.0.attention.output.dense"


@pytest.fixture
def calibrated(
    graph_of: Callable[..., FloatGraph], listener: RecordingListener, tmp_path: Path
) -> Callable[..., Calibrated]:
    def make(**options: object) -> Calibrated:
        graph = graph_of(**options)
        return calibrate(
            graph,
            find_targets(graph.source.request),
            folder=tmp_path,
            progress=Progress(listener),
            refusals=Refusals(),
        )

    return make


def test_float_needs_no_ranges(
    calibrated: Callable[..., Calibrated], listener: RecordingListener
) -> None:
    found = calibrated()
    assert found.preparation.activations == {}
    assert found.overflow == {"onnxruntime": ()}
    assert listener.stages == []


def test_dynamic_int8_needs_none_either(
    calibrated: Callable[..., Calibrated], listener: RecordingListener
) -> None:
    options = QuantizationOptions(mode="dynamic")
    found = calibrated(precision="int8", quantization=options)
    assert found.preparation.options == options
    assert found.preparation.activations == {}
    assert listener.stages == []


def test_static_int8_has_a_range_of_every_activation(
    calibrated: Callable[..., Calibrated], listener: RecordingListener, tmp_path: Path
) -> None:
    found = calibrated(precision="int8", quantization=QuantizationOptions(gptq=False))
    assert listener.stages == ["calibrate"]
    activations = found.preparation.activations
    assert len(activations) == 2 * 4 + 2  # query, key and value share one, but where one is pruned
    assert all(activation.low <= activation.high for activation in activations.values())
    assert all(activation.sample is None for activation in activations.values())
    assert list(tmp_path.iterdir()) == []


def test_queries_and_keys_are_observed_for_who_multiplies_them_in_int8(
    calibrated: Callable[..., Calibrated],
) -> None:
    pytest.importorskip("openvino")
    given = {"precision": "int8", "cpu": "x86-64-vnni"}
    found = calibrated(**given, targets=("onnxruntime", "openvino"))
    assert len(found.preparation.scores) == 2 * 2
    assert calibrated(**given).preparation.scores == {}
    assert scheme_of(found.float_graph, TARGETS["openvino"]).integer_query_key


def test_fp16_has_its_overflow_of_every_target(
    calibrated: Callable[..., Calibrated], listener: RecordingListener, tmp_path: Path
) -> None:
    found = calibrated(precision="fp16", targets=("onnxruntime-cuda", "onnxruntime-tensorrt"))
    assert set(found.overflow) == {"onnxruntime-cuda", "onnxruntime-tensorrt"}
    assert listener.stages == ["overflow", "overflow"]
    assert found.preparation.activations == {}
    assert list(tmp_path.iterdir()) == []


def test_layers_are_excluded_in_a_copy(calibrated: Callable[..., Calibrated]) -> None:
    found = calibrated(precision="int8")
    other = found.with_excluded_layers({LAYER: "because"})
    assert other.preparation.options.excluded_layers == {LAYER: "because"}
    assert found.preparation.options.excluded_layers == {}
    assert other.float_graph is found.float_graph
