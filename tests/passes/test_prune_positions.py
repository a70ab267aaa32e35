from __future__ import annotations

import numpy as np
import pytest

from bert_export.passes.fuse_attention import FuseAttention
from bert_export.passes.prune_positions import (
    PruneLastPosition,
    PruneMaskedPositions,
)
from bert_export.tasks.interface import MASKED_POSITIONS
from tests.passes.graphs import VOCABULARY, feeds_for, operators, run_model, traced


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("places", [[0], [3, 9, 0, 3], list(range(21))])
def test_scores_at_the_places_that_are_asked_for(places, fused, tmp_path):
    model = traced("fill-mask")
    if fused:
        FuseAttention()(model)
    feeds = feeds_for(model)
    (before,) = run_model(model, feeds, tmp_path).values()
    outcome = PruneMaskedPositions()(model)
    assert (outcome.rewritten, outcome.refusals) == (1, ())
    assert [str(axis) for axis in model.graph.outputs[0].shape] == ["masked", str(VOCABULARY)]
    positions = np.array(places, np.int64)
    (after,) = run_model(model, feeds | {MASKED_POSITIONS: positions}, tmp_path).values()
    assert after.shape == (len(places), VOCABULARY)
    assert np.abs(after - before.reshape(-1, VOCABULARY)[positions]).max() < 1e-5
    found = operators(model)
    assert PruneMaskedPositions()(model).rewritten == 0
    assert operators(model) == found


def test_the_last_feed_forward_is_pruned_too():
    model = traced("fill-mask")
    FuseAttention()(model)
    PruneMaskedPositions()(model)
    ranks = {
        str(node.inputs[1].name): len(node.outputs[0].shape)
        for node in model.graph
        if node.op_type == "MatMul"
    }
    assert ranks["bert.encoder.layer.1.intermediate.dense.weight"] == 2
    assert ranks["bert.encoder.layer.1.attention.output.dense.weight"] == 2
    assert ranks["bert.encoder.layer.1.attention.self.query.weight"] == 3
    assert ranks["bert.encoder.layer.0.intermediate.dense.weight"] == 3


@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("lengths", [(7, 3, 1), (5, 5), (1,)])
def test_scores_after_the_last_token(lengths, left, tmp_path):
    model = traced("text-generation")
    FuseAttention()(model)
    feeds = feeds_for(model, lengths, left=left)
    (before,) = run_model(model, feeds, tmp_path).values()
    outcome = PruneLastPosition()(model)
    assert (outcome.rewritten, outcome.refusals) == (1, ())
    assert [str(axis) for axis in model.graph.outputs[0].shape] == ["batch", str(VOCABULARY)]
    (after,) = run_model(model, feeds, tmp_path).values()
    last = [np.flatnonzero(row)[-1] for row in feeds["attention_mask"]]
    wanted = before[np.arange(len(lengths)), last]
    assert after.shape == wanted.shape
    assert np.abs(after - wanted).max() < 1e-5
    assert PruneLastPosition()(model).rewritten == 0


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        ("pretraining", "outputs seq_relationship_logits are read too"),
        ("question-answering", "outputs end_logits are read too"),
        ("sentence-embedding", "output sentence_embedding is not one row per token"),
    ],
)
@pytest.mark.parametrize("run", [PruneMaskedPositions, PruneLastPosition])
def test_other_outputs_are_refused(run, task, reason):
    model = traced(task)
    before = operators(model)
    outcome = run()(model)
    assert outcome.rewritten == 0
    assert [refusal.reason for refusal in outcome.refusals] == [reason]
    assert operators(model) == before
    assert MASKED_POSITIONS not in [value.name for value in model.graph.inputs]
