"""Scores one contender on a labelled file, its answers made by our pipelines in every case.

A contender is a bundle, or a foreign graph of the same weights behind the session interface; then
tokenizer, labels and post-processing come from the FP32 bundle. How far its outputs are from FP32's
is measured too: a metric moves by whole answers, up as well as down, and outputs do not.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import onnxruntime

from bert_export import load
from bert_export.bundle import TensorSpec
from bert_export.datasets import read_dataset
from bert_export.evaluation import evaluate
from bert_export.evaluation.distance import measure_distance, sample_rows
from bert_export.evaluation.scorers import find_scorer
from bert_export.runtime.loading import open_pipeline
from bert_export.runtime.sessions.session import Feeds, Outputs
from bert_export.tasks import find_task
from measuring.child import read_request, send, threads

_DTYPES = {"tensor(int64)": "int64", "tensor(float)": "float32"}


class _Foreign:
    """What the sessions over foreign graphs share."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def run(self, feeds: Feeds) -> Outputs:
        """Run the graph once."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is held that the process's end does not free."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class StockSession(_Foreign):
    """An ONNX file with ONNX Runtime's own settings."""

    def __init__(self, path: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        self.inputs = _specs(self._session.get_inputs())
        self.outputs = _specs(self._session.get_outputs())

    def run(self, feeds: Feeds) -> Outputs:
        """Run the graph once."""
        names = [spec.name for spec in self.outputs]
        wanted = {spec.name: feeds[spec.name] for spec in self.inputs}
        return dict(zip(names, self._session.run(names, wanted), strict=True))


class OpenVinoSession(_Foreign):
    """What NNCF wrote, with OpenVINO's own settings; the axes' names are those of the ONNX file."""

    def __init__(self, path: str, stock: str) -> None:
        import openvino

        interface = StockSession(stock)
        self.inputs, self.outputs = interface.inputs, interface.outputs
        core = openvino.Core()
        self._model = core.compile_model(
            path, "CPU", {"INFERENCE_NUM_THREADS": threads(), "PERFORMANCE_HINT": "LATENCY"}
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


def open_contender(request: dict[str, Any]) -> Any:
    """The pipeline that is scored."""
    kind, path = request["kind"], request["path"]
    if kind == "bundle":
        return load(path, threads=threads())
    with load(request["fp32"], threads=threads()) as ours:
        manifest, tokenizer = ours.manifest, ours.tokenizer
    session = StockSession(path) if kind == "onnx" else OpenVinoSession(path, request["stock"])
    return open_pipeline(find_task(manifest.task), manifest, tokenizer, session)


def main() -> None:
    """Score, and compare with FP32."""
    request = read_request()
    with open_contender(request) as pipeline, load(request["fp32"], threads=threads()) as exact:
        data = read_dataset(find_task(pipeline.task), Path(request["data"]))
        found = evaluate(pipeline, data, against=exact if request["compare"] else None)
        if found.reference is not None:
            error = found.reference.output_error
        else:  # without letting FP32 answer everything once more
            examples = find_scorer(pipeline).prepare(pipeline, data, found.seed)
            error = measure_distance(pipeline, exact, sample_rows(examples)).root
    send(
        "result",
        metric=found.metric,
        score=found.score,
        scores=dict(found.scores),
        seconds=found.seconds,
        error=error,
        agreement=None if found.reference is None else found.reference.agreement,
        replicates=found.replicates,
    )


if __name__ == "__main__":
    main()
