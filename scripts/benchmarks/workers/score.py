"""The job that scores a contender on a labelled file; our pipelines make its answers in any case.

A contender is a bundle, or a foreign graph of the same weights behind the session interface; then
tokenizer, labels and post-processing come from the FP32 bundle. How far its outputs are from FP32's
is measured too: a metric moves by whole answers, up as well as down, and outputs do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from bert_export import load
from bert_export.bundle import TensorSpec
from bert_export.datasets import read_dataset
from bert_export.errors import BertExportError
from bert_export.evaluation import evaluate
from bert_export.evaluation.distance import measure_distance, sample_rows
from bert_export.evaluation.scorers import find_scorer
from bert_export.runtime.loading import open_pipeline
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.runtime.sessions.session import Feeds, Outputs, Session
from bert_export.tasks import find_task
from bert_export.telemetry import import_openvino

__all__ = ["EXPECTED_ERRORS", "score"]

EXPECTED_ERRORS = (BertExportError,)

_DTYPES = {"tensor(int64)": "int64", "tensor(float)": "float32"}


class _Foreign(Session):
    """What the sessions over foreign graphs share."""

    def close(self) -> None:
        """Nothing is held that the process's end does not free."""


class StockSession(_Foreign):
    """An ONNX file with ONNX Runtime's own settings."""

    def __init__(self, path: str, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        self.inputs = _specs(self._session.get_inputs())
        self.outputs = _specs(self._session.get_outputs())

    def run(self, feeds: Feeds) -> Outputs:
        """Run the graph once."""
        names = [spec.name for spec in self.outputs]
        given = {spec.name: feeds[spec.name] for spec in self.inputs}
        return dict(zip(names, self._session.run(names, given), strict=True))


class OpenVinoSession(_Foreign):
    """What NNCF wrote, with OpenVINO's own settings; the axes' names are those of the ONNX file."""

    def __init__(self, path: str, stock: str, threads: int) -> None:
        openvino = import_openvino()
        interface = StockSession(stock, threads)
        self.inputs, self.outputs = interface.inputs, interface.outputs
        core = openvino.Core()
        self._model = core.compile_model(
            path, "CPU", {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
        )

    def run(self, feeds: Feeds) -> Outputs:
        """Run the graph once."""
        results = self._model({spec.name: feeds[spec.name] for spec in self.inputs})
        return {spec.name: np.array(results[spec.name]) for spec in self.outputs}


def _specs(nodes: Any) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(name=node.name, dtype=_DTYPES[node.type], shape=tuple(node.shape))
        for node in nodes
    )


def score(request: Mapping[str, Any]) -> dict[str, Any]:
    """Score, and compare with FP32.

    Args:
        request: ``kind``: ``bundle``, ``onnx`` or ``openvino``; ``path`` of it; of the last,
            ``stock``, the ONNX file whose interface it has; ``fp32``, our bundle; ``data``, the
            labelled file; whether to ``compare`` answers with FP32's; ``threads``. Of a bundle
            also its ``target``, and the target that its outputs are set ``beside``.
    """
    threads, beside = request["threads"], request.get("beside")
    with open_pipeline_of(request) as pipeline, load(request["fp32"], threads=threads) as exact:
        data = read_dataset(find_task(pipeline.task), Path(request["data"]))
        evaluation = evaluate(pipeline, data, against=exact if request["compare"] else None)
        if evaluation.reference is not None:
            error = evaluation.reference.output_error
        else:  # without letting FP32 answer everything once more
            examples = find_scorer(pipeline).prepare(pipeline, data, evaluation.seed)
            error = measure_distance(pipeline, exact, sample_rows(examples)).root
        apart = None
        if beside is not None:
            examples = find_scorer(pipeline).prepare(pipeline, data, evaluation.seed)
            with load(request["path"], target=beside, threads=threads) as other:
                apart = measure_distance(pipeline, other, sample_rows(examples)).root
    return {
        "metric": evaluation.metric,
        "score": evaluation.score,
        "scores": dict(evaluation.scores),
        "error": error,
        "apart": apart,
        "agreement": None if evaluation.reference is None else evaluation.reference.agreement,
        "replicates": evaluation.replicates,
    }


def open_pipeline_of(request: Mapping[str, Any]) -> Pipeline[Any, Any, Any]:
    """The pipeline that is scored."""
    kind, path, threads = request["kind"], request["path"], request["threads"]
    if kind == "bundle":
        return load(path, target=request.get("target"), threads=threads)
    with load(request["fp32"], threads=threads) as ours:
        manifest, tokenizer = ours.manifest, ours.tokenizer
    session = (
        StockSession(path, threads)
        if kind == "onnx"
        else OpenVinoSession(path, request["stock"], threads)
    )
    return open_pipeline(find_task(manifest.task), manifest, tokenizer, session)
