"""Quantizes an ONNX file with NNCF's post-training quantization for transformers.

Runs in an environment of its own: nothing of this project is imported but the channel.
"""

from __future__ import annotations

from measuring.child import read_request, send

if __name__ == "__main__":
    import nncf
    import numpy as np
    import openvino

    request = read_request()
    model = openvino.Core().read_model(request["graph"])
    names = [port.get_any_name() for port in model.inputs]
    with np.load(request["rows"]) as stored:
        arrays = dict(stored)
    count = len(arrays) // 3
    rows = [{name: arrays[f"{name}.{index}"] for name in names} for index in range(count)]
    quantized = nncf.quantize(
        model,
        nncf.Dataset(rows),
        model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=count,
    )
    openvino.save_model(quantized, request["output"], compress_to_fp16=False)
    send("result")
