from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest

from bert_export.errors import PassError
from bert_export.passes.expand_attention import ExpandAttention
from bert_export.passes.lower_opset import LowerOpset
from bert_export.passes.prepare import prepare
from bert_export.tasks import TASKS
from tests.passes.graphs import LAYERS, difference, feeds_for, from_text, run_model, traced

HEAD = '<ir_version: 10, opset_import: ["" : 23]>'


@pytest.mark.parametrize("task", ["sentence-embedding", "fill-mask", "text-generation"])
def test_heads_are_legal_in_opset_20(task, tmp_path):
    model = traced(task)
    prepare(model, task=TASKS[task], config_layers=LAYERS)
    ExpandAttention()(model)
    feeds = feeds_for(model)
    before = run_model(model, feeds, tmp_path)
    assert LowerOpset()(model).rewritten == 1
    assert model.graph.opset_imports[""] == 20
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    assert difference(before, run_model(model, feeds, tmp_path)) == 0
    assert LowerOpset()(model).rewritten == 0


def test_quantized_graphs_get_opset_21():
    model = from_text(
        f"{HEAD} agraph (float[B] x) => (float[B] y) <float s = {{0.5}}, int8 z = {{0}}>"
        "{ q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }"
    )
    assert LowerOpset()(model).rewritten == 1
    assert model.graph.opset_imports[""] == 21


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "y = Attention<q_num_heads = 2, kv_num_heads = 2>(x, x, x)",
            "Attention node .* is not in opset 20: expected an older operator, got Attention",
        ),
        (
            "q = QuantizeLinear<precision = 1>(x, s, z) y = DequantizeLinear(q, s, z)",
            "QuantizeLinear node .* has attributes that opset 21 does not know: .* got precision",
        ),
    ],
)
def test_what_is_newer_is_refused(body, message):
    model = from_text(
        f"{HEAD} agraph (float[B, S, 8] x) => (float[B, S, 8] y)"
        f" <float s = {{0.5}}, int8 z = {{0}}> {{ {body} }}"
    )
    before = model.graph.opset_imports[""]
    with pytest.raises(PassError, match=message):
        LowerOpset()(model)
    assert model.graph.opset_imports[""] == before


def test_a_type_that_came_later_is_refused():
    model = from_text(
        '<ir_version: 10, opset_import: ["" : 23]>'
        " agraph (bfloat16[B, C, S] x) => (bfloat16[B, C, S] y) { y = HardSwish(x) }"
    )
    with pytest.raises(PassError, match=r"whose type opset 20 does not take: expected .*float16"):
        LowerOpset()(model)
