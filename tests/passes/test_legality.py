from __future__ import annotations

import onnx_ir as ir
import pytest

from bert_export.errors import PassError
from bert_export.passes.legality import DOMAINS, LEGAL, check_legal
from tests.passes.graphs import from_text, traced
from tests.support import ONE_GRAPH

HEAD = '<ir_version: 10, opset_import: ["" : 23, "com.microsoft" : 1]>'


@pytest.mark.parametrize("task", ONE_GRAPH)
def test_every_traced_head_is_legal(task):
    check_legal(traced(task), "tracing")


@pytest.mark.parametrize("activation", ["relu", "silu"])
def test_every_activation_is_legal(activation):
    check_legal(
        traced("text-classification", hidden_act=activation, num_hidden_layers=1), "tracing"
    )


def test_every_pooling_is_legal():
    modes = ("cls", "max", "mean", "mean_sqrt_len", "weightedmean", "lasttoken")
    check_legal(traced("sentence-embedding", pooling=modes, num_hidden_layers=1), "tracing")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("y = Sin(x)", "node .* with operator Sin: expected an operator that"),
        ("y = com.microsoft.FastGelu(x)", "with operator com.microsoft.FastGelu"),
        ("y = Softmax<axis = 1>(x)", "Softmax node .* in another form: expected the last axis"),
        ("y = LayerNormalization<axis = 1>(x, w)", "in another form: expected the last axis"),
        ("y = Attention(x, x, x)", "expected three axes with q_num_heads"),
        ("y = MatMul(x, cube)", "expected a weight of two axes"),
        ("y = Gather(x, i, i)", "Gather node .* with other inputs: expected 2 to 2, got 3"),
        ("y = Not(x)", "Not node .* of another type"),
    ],
)
def test_what_is_not_legal_is_named(body, message):
    model = from_text(f"""{HEAD}
    g (float[2, 3, 4] x, int64[1] i) => (y)
    <float[4] w = {{1, 1, 1, 1}}, float[1, 1, 4] cube = {{1, 1, 1, 1}}>
    {{ {body} }}""")
    if "Not" in body:
        # the type that inference would have refused
        model.graph[0].outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    with pytest.raises(PassError, match=f"graph after tracing holds .*{message}"):
        check_legal(model, "tracing")


def test_branches_are_looked_into():
    model = from_text(f"""{HEAD}
    choice (bool c, float[2] x) => (float[2] y) {{
      y = If (c) <then_branch = one () => (float[2] s) {{ s = Relu(x) }},
                  else_branch = two () => (float[2] t) {{ t = Sin(x) }}>
    }}""")
    with pytest.raises(PassError, match="operator Sin"):
        check_legal(model, "pass nobody")


def test_the_table_names_known_domains_only():
    assert {domain for domain, _ in LEGAL} == set(DOMAINS)
