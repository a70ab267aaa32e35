"""Every task's graph becomes a program that answers as the graph does."""

from __future__ import annotations

import numpy as np
import pytest

from bert_export.bundle.program import Attention, Linear, Quantize
from bert_export.errors import TargetError
from bert_export.targets.native.translation import translate
from tests.passes.graphs import feeds_for, from_text, run_model
from tests.support import ONE_GRAPH
from tests.targets.native.interpreter import Interpreter
from tests.targets.native.programs import lowered, ragged, same_rows, written_program

# tests/cpp exports every task; here each of the forms that a head may have is traced once.
ALIKE = ("next-sentence-prediction", "sentence-embedding", "zero-shot-classification")
HEADS = (
    *((task, {}) for task in ONE_GRAPH if task not in (*ALIKE, "token-classification")),
    ("sentence-embedding", {"pooling": ("mean", "cls", "max")}),
    ("sentence-embedding", {"pooling": ("mean_sqrt_len", "weightedmean", "lasttoken")}),
    ("token-classification", {"hidden_act": "silu"}),
)

STEPS = 0.15
"""What values that round to another neighbour in INT8 or BF16 may change: tiny heads are rough."""


@pytest.mark.parametrize(("task", "fields"), HEADS)
def test_float_programs_give_the_graph_s_numbers(task, fields, tmp_path):
    model = lowered(task, "fp32", **fields)
    feeds = feeds_for(model)
    expected = run_model(model, feeds, tmp_path)
    mask, rows = ragged(feeds)
    found = Interpreter(written_program(model, tmp_path)).run(*rows)
    assert list(found) == list(expected)
    for name, array in found.items():
        right = same_rows(expected[name], array, mask)
        np.testing.assert_allclose(array, right, rtol=0, atol=3e-6)


@pytest.mark.parametrize(
    ("task", "precision"),
    [
        ("pretraining", "int8"),
        ("fill-mask", "int8"),
        ("text-classification", "int8"),
        ("fill-mask", "bf16"),
    ],
)
def test_rounded_programs_differ_by_rounding_alone(task, precision, tmp_path):
    model = lowered(task, precision)
    feeds = feeds_for(model)
    expected = run_model(model, feeds, tmp_path)
    mask, rows = ragged(feeds)
    found = Interpreter(written_program(model, tmp_path)).run(*rows)
    for name, array in found.items():
        right = same_rows(expected[name], array, mask)
        assert np.abs(array - right).max() <= STEPS * max(1.0, float(np.abs(right).max()))


def test_a_layer_is_seven_operations(tmp_path):
    interpreter = Interpreter(written_program(lowered("token-classification"), tmp_path))
    kinds = [type(operation).__name__ for operation in interpreter.program.operations]
    layer = [
        "Linear",
        "Linear",
        "Linear",
        "Attention",
        "Linear",
        "Norm",
        "Linear",
        "Linear",
        "Norm",
    ]
    assert kinds == ["Embed", *layer, *layer, "Linear"]
    linears = [one for one in interpreter.program.operations if isinstance(one, Linear)]
    assert [linear.activation for linear in linears[:6]] == ["none"] * 4 + ["gelu", "none"]
    assert [linear.residual is not None for linear in linears[:6]] == [
        *[False] * 3,
        True,
        False,
        True,
    ]


def test_one_token_s_query_reads_all_tokens(tmp_path):
    program = Interpreter(written_program(lowered("text-classification"), tmp_path)).program
    last = [one for one in program.operations if isinstance(one, Attention)][-1]
    assert program.values[last.query].rows == "texts"
    assert program.values[last.key].rows == "tokens"
    assert any(isinstance(one, Quantize) for one in program.operations)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"position_embedding_type": "relative_key"}, "positions that are relative"),
        ({"hidden_act": "quick_gelu"}, "Mul node"),
    ],
)
def test_what_a_program_cannot_hold_is_refused_by_name(fields, reason):
    with pytest.raises(TargetError, match=reason):
        translate(lowered("token-classification", "fp32", **fields))


def test_weights_of_attention_are_refused_by_name():
    model = lowered("token-classification", "fp32")
    model.graph.outputs[0].name = "attentions.0"
    with pytest.raises(TargetError, match=r"output attentions\.0 cannot be held by a program"):
        translate(model)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("y = Softmax(w)", "Softmax node .*: it has no operation for it"),
        ("y = Gather <axis=1> (w, input_ids)", "Gather node .*: it is no lookup in a table"),
        ("y = Tanh(w)", "Tanh node .*: it does not follow a linear layer"),
        ("y = Add(w, w)", "Add node .*: it adds neither a bias nor a residual"),
    ],
)
def test_a_near_miss_names_its_node(body, reason):
    model = from_text(
        f"""<ir_version: 10, opset_import: ["": 23]>
        g (int64[B, S] input_ids) => (float[3, 4] y)
        <float[3, 4] w = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}}> {{ {body} }}"""
    )
    with pytest.raises(TargetError, match=reason):
        translate(model)
