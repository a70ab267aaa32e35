from __future__ import annotations

import pytest

from bert_export.errors import PassError
from bert_export.passes.prepare import PREPARE, prepare
from bert_export.tasks import TASKS
from tests.passes.graphs import LAYERS, traced
from tests.support import ONE_GRAPH


def _prepare(model, task: str):
    return prepare(model, task=TASKS[task], config_layers=LAYERS)


def test_a_layer_that_does_not_fuse_fails_with_the_nearest_miss():
    model = traced("text-classification")
    softmax = [node for node in model.graph if node.op_type == "Softmax"][1]
    scaled = softmax.inputs[0].producer().inputs[0].producer()
    scaled.replace_input_with(1, softmax.inputs[0].producer().inputs[1])
    with pytest.raises(PassError) as caught:
        _prepare(model, "text-classification")
    assert str(caught.value) == (
        "pass fuse_attention did not rewrite all attention layers: expected 2, got 1 of 2, the "
        f"nearest miss at node {scaled.name}: the scale is not a constant."
    )


def test_an_unknown_operator_is_named():
    model = traced("text-classification")
    node = next(node for node in model.graph if node.op_type == "Tanh")
    node.op_type = "Sinh"
    with pytest.raises(PassError, match=f"after tracing holds node {node.name} with operator Sinh"):
        _prepare(model, "text-classification")


@pytest.mark.parametrize("task", ONE_GRAPH)
def test_what_is_pruned_follows_the_tokens_that_a_head_reads(task):
    outcomes = {outcome.pass_name: outcome for outcome in _prepare(traced(task), task)}
    pruning = {name: outcome for name, outcome in outcomes.items() if name.startswith("prune_")}
    expected = {
        "first_token": {"prune_first_token": 1},
        "masks": {"prune_masked_positions": 1},
        "last_token": {"prune_last_position": 1},
        # Vectors that are pooled may be those of one token: the pass looks, and finds a mean.
        "every_token": {"prune_first_token": 0} if task == "sentence-embedding" else {},
    }[TASKS[task].scored_positions]
    assert {name: outcome.rewritten for name, outcome in pruning.items()} == expected


def test_every_position_has_its_reason():
    for step in PREPARE:
        assert len(step.why) > 20, step.run.name
