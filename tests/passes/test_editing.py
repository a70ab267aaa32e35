from __future__ import annotations

import numpy as np

from bert_export.passes.editing import add_to_bias, constant, own_bias, use_count
from tests.passes.graphs import copy_model, difference, feeds_for, run_model, traced

LAYER = "bert.encoder.layer.0.output.dense"


def _product(model):
    return next(
        node
        for node in model.graph
        if node.op_type == "MatMul" and node.inputs[1].name == f"{LAYER}.weight"
    )


def _drop_bias(model) -> None:
    """Let what reads the biased product read the product itself."""
    product = _product(model)
    bias = own_bias(model.graph, product)
    add = next(use.node for use in product.outputs[0].uses())
    for node, index in tuple(add.outputs[0].uses()):
        node.replace_input_with(index, product.outputs[0])
    model.graph.remove(add, safe=True)
    model.graph.initializers.pop(str(bias.name))


def test_a_layer_without_a_bias_gets_one_of_zeros(tmp_path):
    model = traced("token-classification")
    _drop_bias(model)
    before = copy_model(model)
    bias = own_bias(model.graph, _product(model))
    assert own_bias(model.graph, _product(model)) is bias
    assert bias.name == f"{LAYER}.bias"
    assert use_count(bias) == 1
    assert not constant(bias).any()
    feeds = feeds_for(model)
    outputs = run_model(before, feeds, tmp_path), run_model(model, feeds, tmp_path)
    assert difference(*outputs) == 0


def test_a_bias_is_added_to_and_a_clone_keeps_its_own():
    model = traced("token-classification")
    clone = model.clone()
    old = constant(own_bias(model.graph, _product(model))).copy()
    by = np.linspace(0, 1, len(old))
    add_to_bias(model.graph, _product(model), by)
    np.testing.assert_array_equal(
        constant(own_bias(model.graph, _product(model))), (old + by).astype(np.float32)
    )
    np.testing.assert_array_equal(constant(own_bias(clone.graph, _product(clone))), old)
