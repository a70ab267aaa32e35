"""Quantizes an optimized graph dynamically, which optimum's own command refuses to do.

The optimizer's fused operators hide types from shape inference, and ONNX Runtime's quantizer then
needs to be told what tensors are by an option that optimum does not pass on.
"""

from __future__ import annotations

from measuring.child import read_request, send

if __name__ == "__main__":
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic

    request = read_request()
    quantize_dynamic(
        request["graph"],
        request["output"],
        weight_type=QuantType.QInt8,
        extra_options={"DefaultTensorType": TensorProto.FLOAT},
    )
    send("result")
