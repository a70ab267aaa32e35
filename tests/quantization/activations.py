"""What the quantized layers of a graph read while it runs."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from bert_export.quantization.linear_layers import find_linear_layers
from tests.passes.graphs import Arrays, run_model

__all__ = ["layer_inputs"]


def layer_inputs(model: ir.Model, feeds: Arrays, folder: Path) -> Arrays:
    """The input of each linear layer, by the layer's name; they stay outputs of the model."""
    layers, _ = find_linear_layers(model)
    for layer in layers:
        value = layer.node.inputs[0]
        assert value is not None
        if not any(output is value for output in model.graph.outputs):
            model.graph.outputs.append(value)
    outputs = run_model(model, feeds, folder)
    return {layer.name: outputs[layer.activation] for layer in layers}
