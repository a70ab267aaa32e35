from __future__ import annotations

import numpy as np
import pytest

from bert_export.errors import PassError
from bert_export.passes.prepare import PREPARE, prepare
from bert_export.tasks import TASKS
from bert_export.tasks.interface import HIDDEN_STATES, INNER_OUTPUTS
from tests.passes.graphs import LAYERS, feeds_for, operators, run_model, traced
from tests.support import ONE_GRAPH

ASKED = {"masked_positions": np.array([1, 8])}


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


@pytest.mark.parametrize("task", ["text-classification", "fill-mask", "text-generation"])
@pytest.mark.parametrize("kind", INNER_OUTPUTS)
def test_inner_values_stay_what_they_are(task, kind, tmp_path):
    """States and weights keep every token, whatever of the head behind them is left out."""
    model = traced(task)
    graph = model.graph
    states = [node for node in graph if node.op_type == "LayerNormalization"][: 2 * LAYERS + 1 : 2]
    weights = [node for node in graph if node.op_type == "Softmax"]
    nodes = states if kind == HIDDEN_STATES else weights
    for index, node in enumerate(nodes):
        node.outputs[0].name = f"{kind}.{index}"
        graph.outputs.append(node.outputs[0])
    names = [f"{kind}.{index}" for index in range(LAYERS + (kind == HIDDEN_STATES))]
    assert [value.name for value in graph.outputs][-len(names) :] == names
    feeds = feeds_for(model)
    before = run_model(model, feeds, tmp_path)
    _prepare(model, task)
    after = run_model(model, feeds | ASKED if task == "fill-mask" else feeds, tmp_path)
    for name in names:
        np.testing.assert_allclose(after[name], before[name], rtol=0, atol=1e-5)
    assert operators(model)["Attention"] == (LAYERS if kind == HIDDEN_STATES else 0)


def test_every_position_has_its_reason():
    for step in PREPARE:
        assert len(step.why) > 20, step.run.name
