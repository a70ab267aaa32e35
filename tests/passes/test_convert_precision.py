from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from bert_export.errors import PassError
from bert_export.passes.bound_masks import BoundMasks
from bert_export.passes.convert_precision import ConvertPrecision, set_float32_nodes
from bert_export.passes.expand_attention import ExpandAttention
from bert_export.passes.prepare import prepare
from bert_export.tasks import TASKS
from tests.passes.graphs import (
    LAYERS,
    copy_model,
    difference,
    feeds_for,
    from_text,
    run_model,
    traced,
)

HEAD = '<ir_version: 10, opset_import: ["" : 23]>'
FP16, BF16, FP32 = ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.FLOAT
POOLINGS = ("cls", "max", "mean", "mean_sqrt_len", "weightedmean", "lasttoken")


def _expanded(task: str, **fields) -> ir.Model:
    model = traced(task, **fields)
    prepare(model, task=TASKS[task], config_layers=LAYERS)
    ExpandAttention()(model)
    BoundMasks()(model)
    return model


def _types(model: ir.Model, op_type: str) -> set[ir.DataType]:
    return {node.outputs[0].dtype for node in model.graph if node.op_type == op_type}


@pytest.mark.parametrize("task", ["feature-extraction", "text-generation"])
def test_fp16_answers_nearly_the_same(task, tmp_path):
    model = _expanded(task)
    feeds = feeds_for(model)
    before = run_model(model, feeds, tmp_path)
    outcome = ConvertPrecision(FP16)(model)
    assert outcome.rewritten > 40
    after = run_model(model, feeds, tmp_path)
    assert {array.dtype for array in after.values()} == {np.dtype(np.float32)}
    assert 0 < difference(before, after) < 0.02
    assert ConvertPrecision(FP16)(model).rewritten == 0


@pytest.mark.parametrize("dtype", [FP16, BF16])
def test_weights_and_products_are_converted_and_the_interface_is_not(dtype):
    model = _expanded("feature-extraction")
    interface = [(value.name, value.dtype) for value in (*model.graph.inputs, *model.graph.outputs)]
    ConvertPrecision(dtype)(model)
    assert [
        (value.name, value.dtype) for value in (*model.graph.inputs, *model.graph.outputs)
    ] == interface
    for op_type in ("MatMul", "LayerNormalization", "Gelu", "Softmax", "Gather"):
        assert _types(model, op_type) == {dtype}, op_type
    floats = {
        value.dtype for value in model.graph.initializers.values() if value.dtype in (FP32, dtype)
    }
    assert floats == {dtype}
    for node in model.graph:
        if node.op_type == "LayerNormalization":
            assert node.attributes["stash_type"].value == 1


def test_kept_operators_stay_fp32_behind_casts(tmp_path):
    model = _expanded("feature-extraction")
    feeds = feeds_for(model)
    before = run_model(model, feeds, tmp_path)
    ConvertPrecision(FP16, keep=["Softmax"])(model)
    assert _types(model, "Softmax") == {FP32}
    assert _types(model, "MatMul") == {FP16}
    assert 0 < difference(before, run_model(model, feeds, tmp_path)) < 0.02


@pytest.mark.parametrize("dtype", [FP16, BF16])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_poolings_sum_in_fp32(pooling, dtype):
    model = _expanded("sentence-embedding", pooling=(pooling,))
    ConvertPrecision(dtype)(model)
    for node in model.graph:
        if node.op_type in ("ReduceSum", "ReduceL2", "ReduceMean", "Clip", "Sqrt", "Range"):
            assert node.outputs[0].dtype in (FP32, ir.DataType.INT64), node.op_type
        if node.op_type == "ArgMax":
            assert node.inputs[0].dtype in (FP32, ir.DataType.INT64)
    assert _types(model, "MatMul") == {dtype}


@pytest.mark.parametrize("pooling", POOLINGS)
def test_poolings_answer_nearly_the_same_in_fp16(pooling, tmp_path):
    model = _expanded("sentence-embedding", pooling=(pooling,))
    feeds = feeds_for(model)
    before = run_model(model, feeds, tmp_path)
    ConvertPrecision(FP16)(model)
    assert difference(before, run_model(model, feeds, tmp_path)) < 0.005


@pytest.mark.parametrize(("dtype", "kept"), [(FP16, FP16), (BF16, FP32)])
def test_relative_positions_are_multiplied_in_what_the_standard_has(dtype, kept):
    model = _expanded("feature-extraction", position_embedding_type="relative_key_query")
    ConvertPrecision(dtype)(model)
    assert _types(model, "Einsum") == {kept}
    assert _types(model, "MatMul") == {dtype}


def test_named_nodes_stay_fp32_with_their_readers():
    model = _expanded("feature-extraction")
    name = "node_add_164"
    node = next(node for node in model.graph if node.name == name)
    readers = [use.node.name for use in node.outputs[0].uses()]
    set_float32_nodes(model, [name])
    ConvertPrecision(FP16)(model)
    kept = {
        node.name
        for node in model.graph
        if node.outputs[0].dtype == FP32 and node.op_type != "Cast"
    }
    assert kept == {name, *readers}
    assert len(readers) == 1


def test_fp16_overflow_is_avoided_where_a_node_is_named(tmp_path):
    model = from_text(
        f"{HEAD} agraph (float[B, 2] x) => (float[B, 2] y)"
        " <float[2] up = {300.0, 300.0}, float[2] down = {0.001, 0.001}>"
        "{ a = Mul(x, up) b = Mul(a, down) y = Tanh(b) }"
    )
    feeds = {"x": np.array([[400.0, -400.0]], np.float32)}
    before = run_model(model, feeds, tmp_path)
    kept, plain = copy_model(model), copy_model(model)
    ConvertPrecision(FP16)(plain)
    names = [node.name for node in kept.graph if node.outputs[0].name == "a"]
    set_float32_nodes(kept, names)
    ConvertPrecision(FP16)(kept)
    assert np.isfinite(run_model(kept, feeds, tmp_path)["y"]).all()
    assert difference(before, run_model(kept, feeds, tmp_path)) < 1e-3
    assert _types(plain, "Mul") == {FP16}


def test_a_weight_that_does_not_fit_is_refused_by_name():
    model = from_text(
        f"{HEAD} agraph (float[B, 2] x) => (float[B, 2] y)"
        " <float[2] huge = {1.0, 70000.0}> { y = Mul(x, huge) }"
    )
    with pytest.raises(
        PassError, match=r"constant huge does not fit fp16: expected at most 65504, got 7e\+04"
    ):
        ConvertPrecision(FP16)(copy_model(model))
    ConvertPrecision(BF16)(model)
    assert model.graph.initializers["huge.bf16"].dtype == BF16


def test_a_branch_is_refused():
    model = from_text(
        f"{HEAD} agraph (float[B] x, bool c) => (float[B] y) {{"
        " y = If(c) <then_branch = g1 () => (float[B] t) { t = Identity(x) },"
        " else_branch = g2 () => (float[B] e) { e = Neg(x) }> }"
    )
    with pytest.raises(PassError, match="holds a branch: expected a graph without If, got If"):
        ConvertPrecision(FP16)(model)


def test_an_output_that_is_read_inside_is_cast_once():
    model = _expanded("feature-extraction")
    ConvertPrecision(FP16)(model)
    outputs = {value.name: value.producer() for value in model.graph.outputs}
    assert {node.op_type for node in outputs.values()} == {"Cast"}
    states = outputs["last_hidden_state"].inputs[0]
    assert states.name == "last_hidden_state.fp16"
    assert {use.node.op_type for use in states.uses()} == {"Cast", "Gather"}
