from __future__ import annotations

import numpy as np
import pytest

from bert_export.passes.drop_token_types import DropTokenTypes
from bert_export.passes.fuse_attention import FuseAttention
from tests.passes.graphs import difference, feeds_for, operators, run_model, traced


@pytest.mark.parametrize("task", ["sentence-embedding", "token-classification"])
def test_type_zero_moves_into_the_positions(task, tmp_path):
    model = traced(task)
    FuseAttention()(model)
    feeds = feeds_for(model)
    feeds["token_type_ids"][:] = 0
    before = run_model(model, feeds, tmp_path)
    outcome = DropTokenTypes(pairs=False)(model)
    assert (outcome.rewritten, outcome.refusals) == (1, ())
    assert [value.name for value in model.graph.inputs] == ["input_ids", "attention_mask"]
    del feeds["token_type_ids"]
    assert difference(before, run_model(model, feeds, tmp_path)) < 1e-5
    assert DropTokenTypes(pairs=False)(model).rewritten == 0


def _second_lookup(graph):
    types = next(value for value in graph.inputs if value.name == "token_type_ids")
    graph[-1].replace_input_with(1, types)


def _own_sum(graph):
    lookup = next(node for node in graph if "token_type" in str(node.inputs[0].name)
                  and node.op_type == "Gather")  # fmt: skip
    graph[-1].replace_input_with(0, lookup.outputs[0])


def _positions_twice(graph):
    piece = next(node for node in graph if node.op_type == "Slice")
    graph[-1].replace_input_with(0, piece.inputs[0])


@pytest.mark.parametrize(
    ("task", "change", "reason"),
    [
        ("token-classification", _second_lookup, "read by more than their table"),
        ("token-classification", _own_sum, "the types' vectors are not added"),
        ("token-classification", _positions_twice, "the table of positions is read twice"),
    ],
)
def test_a_near_miss_is_refused(task, change, reason):
    model = traced(task)
    change(model.graph)
    before = operators(model)
    outcome = DropTokenTypes(pairs=False)(model)
    assert outcome.rewritten == 0
    assert [reason in refusal.reason for refusal in outcome.refusals] == [True]
    assert operators(model) == before


def test_relative_positions_have_no_table_to_add_to():
    model = traced("text-classification", position_embedding_type="relative_key")
    (refusal,) = DropTokenTypes(pairs=False)(model).refusals
    assert refusal.reason == "no table of positions is added next"


def test_tasks_with_pairs_keep_the_input():
    model = traced("text-classification")
    outcome = DropTokenTypes(pairs=True)(model)
    assert [refusal.reason for refusal in outcome.refusals] == ["the task has pairs of texts"]
    assert np.isin("token_type_ids", [value.name for value in model.graph.inputs])
