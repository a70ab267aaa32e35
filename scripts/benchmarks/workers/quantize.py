"""Jobs that quantize with the tools of others; each runs in that tool's environment.

Calibration rows are those of ours: a file of arrays called ``input_ids.0``, ``input_ids.1``, ...
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = [
    "convert_for_ctranslate2",
    "quantize_dynamically",
    "quantize_statically",
    "quantize_with_nncf",
]

Request = Mapping[str, Any]


def quantize_dynamically(request: Request) -> dict[str, Any]:
    """ONNX Runtime's dynamic quantization.

    Args:
        request: ``graph`` and ``output``, files. Where the graph is ``optimized``, whose fused
            operators hide types from shape inference, the quantizer is told what tensors are by an
            option that optimum's command does not pass on.
    """
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic

    options = {"DefaultTensorType": TensorProto.FLOAT} if request["optimized"] else {}
    quantize_dynamic(
        request["graph"],
        request["output"],
        weight_type=QuantType.QInt8,
        extra_options=options,
    )
    return {}


def quantize_statically(request: Request) -> dict[str, Any]:
    """ONNX Runtime's static quantization: min-max, unsigned activations, weights per channel.

    Args:
        request: ``graph``, ``rows`` and ``output``, files.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Hands out the rows one by one."""

        def __init__(self) -> None:
            self._rows = iter(read_rows(request["rows"]))

        def get_next(self) -> dict[str, Any] | None:
            """The next row, ``None`` at the end."""
            return next(self._rows, None)

    quantize_static(
        request["graph"],
        request["output"],
        Reader(),
        quant_format=QuantFormat.QDQ,
        calibrate_method=CalibrationMethod.MinMax,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        op_types_to_quantize=["MatMul", "Gemm"],
    )
    return {}


def quantize_with_nncf(request: Request) -> dict[str, Any]:
    """NNCF's post-training quantization for transformers, written for OpenVINO.

    Args:
        request: ``graph``, ``rows`` and ``output``, files.
    """
    import nncf
    import openvino

    model = openvino.Core().read_model(request["graph"])
    names = [port.get_any_name() for port in model.inputs]
    rows = [{name: row[name] for name in names} for row in read_rows(request["rows"])]
    quantized = nncf.quantize(
        model,
        nncf.Dataset(rows),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(rows),
    )
    openvino.save_model(quantized, request["output"], compress_to_fp16=False)
    return {}


def convert_for_ctranslate2(request: Request) -> dict[str, Any]:
    """Convert a checkpoint for CTranslate2, as its own command does.

    Args:
        request: ``model`` and ``output``, folders.
    """
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(request["model"]).convert(
        request["output"], quantization="int8", force=True
    )
    return {}


def read_rows(file: str) -> Sequence[dict[str, Any]]:
    """The calibration rows, in order."""
    import numpy as np

    with np.load(file) as stored:
        arrays = dict(stored)
    names = {name.partition(".")[0] for name in arrays}
    return list(_rows(arrays, names))


def _rows(arrays: Mapping[str, Any], names: set[str]) -> Iterator[dict[str, Any]]:
    for index in range(len(arrays) // len(names)):
        yield {name: arrays[f"{name}.{index}"] for name in names}
