"""What quantized layers read while a graph runs."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from bert_export.quantization.linear_layers import find_linear_layers
from tests.passes.graphs import Arrays, run_model

__all__ = ["site_inputs"]


def site_inputs(model: ir.Model, feeds: Arrays, folder: Path) -> Arrays:
    """By layer; the model gives the activations back from now on."""
    layers, _ = find_linear_layers(model)
    for layer in layers:
        value = layer.node.inputs[0]
        assert value is not None
        if not any(output is value for output in model.graph.outputs):
            model.graph.outputs.append(value)
    outputs = run_model(model, feeds, folder)
    return {layer.name: outputs[layer.activation] for layer in layers}
