"""Makes the INT8 graphs that other tools give: from the plain export, with our calibration rows.

``export`` writes the float graph as torch traces it and the rows as feeds, ``dynamic`` and
``static`` are ONNX Runtime's own tools, ``nncf`` is NNCF for OpenVINO and needs nothing of ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from measuring.child import read_request, send

_OPSET = 20  # what stock tools know well
_ROWS = "rows"


def export(request: dict[str, Any]) -> None:
    """Write ``model.onnx`` and one file of feeds per calibration row."""
    import onnx_ir as ir

    from bert_export import load
    from bert_export.checkpoints import load_checkpoint
    from bert_export.models import load_head
    from bert_export.quantization.calibration.rows import make_rows, read_calibration
    from bert_export.runtime.batching import pad_rows
    from bert_export.tasks import find_task
    from bert_export.tracing import trace

    folder, task = Path(request["folder"]), find_task(request["task"])
    head = load_head(task.head, load_checkpoint(request["model"]))
    choices = any("choices" in output.shape for output in task.outputs)
    axes = ("batch", "choices", "sequence") if choices else ("batch", "sequence")
    shapes = {output.name: output.shape for output in task.outputs}
    with load(request["fp32"], threads=1) as pipeline:
        model = trace(
            head,
            inputs=tuple((name, axes) for name in head.inputs),
            outputs=tuple((name, shapes[name]) for name in head.outputs),
            max_length=pipeline.tokenizer.max_length,
            opset=_OPSET,
        )
        rows = make_rows(read_calibration(task), pipeline).rows
        (folder / _ROWS).mkdir(parents=True, exist_ok=True)
        for index, row in enumerate(rows):
            feeds = pad_rows([row], pad_id=pipeline.tokenizer.pad_id)
            if choices:
                feeds = {name: array[:, None] for name, array in feeds.items()}
            np.savez(
                folder / _ROWS / f"{index:05}.npz",
                **{name: feeds[name] for name in head.inputs},  # type: ignore[arg-type]
            )
    ir.save(model, folder / "model.onnx")


def feeds_of(folder: Path) -> Iterator[dict[str, Any]]:
    """The calibration rows, in order."""
    for path in sorted((folder / _ROWS).glob("*.npz")):
        with np.load(path) as stored:
            yield dict(stored)


def dynamic(request: dict[str, Any]) -> None:
    """ONNX Runtime's dynamic quantization."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    folder = Path(request["folder"])
    quantize_dynamic(folder / "model.onnx", folder / "dynamic.onnx", weight_type=QuantType.QInt8)


def static(request: dict[str, Any]) -> None:
    """ONNX Runtime's static quantization: min-max, unsigned activations, weights per channel."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    folder = Path(request["folder"])

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Hands out the rows one by one."""

        def __init__(self) -> None:
            self._rows = feeds_of(folder)

        def get_next(self) -> dict[str, Any] | None:
            """The next row, ``None`` at the end."""
            return next(self._rows, None)

    quantize_static(
        folder / "model.onnx",
        folder / "static.onnx",
        Reader(),
        quant_format=QuantFormat.QDQ,
        calibrate_method=CalibrationMethod.MinMax,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        op_types_to_quantize=["MatMul", "Gemm"],
    )


def nncf(request: dict[str, Any]) -> None:
    """NNCF's post-training quantization of the same graph, for OpenVINO."""
    import nncf as tool
    import openvino

    folder = Path(request["folder"])
    model = openvino.Core().read_model(folder / "model.onnx")
    rows = list(feeds_of(folder))
    quantized = tool.quantize(
        model,
        tool.Dataset(rows),
        model_type=tool.ModelType.TRANSFORMER,
        subset_size=len(rows),
    )
    openvino.save_model(quantized, folder / "nncf.xml", compress_to_fp16=False)


if __name__ == "__main__":
    asked = read_request()
    {"export": export, "dynamic": dynamic, "static": static, "nncf": nncf}[asked["kind"]](asked)
    send("result", kind=json.dumps(asked["kind"]))
