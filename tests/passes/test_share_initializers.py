from __future__ import annotations

import numpy as np

from bert_export.passes.editing import new_constant
from bert_export.passes.prune_positions import PruneMaskedPositions
from bert_export.passes.share_initializers import ShareInitializers
from tests.passes.graphs import difference, feeds_for, from_text, operators, run_model, traced

DECODER, WORDS = "cls.predictions.decoder.weight", "bert.embeddings.word_embeddings.weight"


def test_a_tied_decoder_reads_the_word_table(tmp_path):
    for prune in (True, False):
        model = traced("fill-mask")
        if prune:
            PruneMaskedPositions()(model)
        feeds = feeds_for(model)
        before = run_model(model, feeds, tmp_path)
        assert DECODER in model.graph.initializers
        outcome = ShareInitializers()(model)
        assert outcome.rewritten >= 1
        assert outcome.refusals == ()
        assert DECODER not in model.graph.initializers
        (tied,) = (node for node in model.graph if node.op_type == "FusedMatMul")
        assert tied.inputs[1] is model.graph.initializers[WORDS]
        assert difference(before, run_model(model, feeds, tmp_path)) < 1e-5
        found = operators(model)
        assert ShareInitializers()(model).rewritten == 0
        assert operators(model) == found


def test_another_decoder_stays():
    model = traced("fill-mask")
    weight = model.graph.initializers[DECODER]
    array = weight.const_value.numpy().copy()
    array[0, 0] += 1e-6
    weight.const_value = new_constant(model.graph, "other", array).const_value
    outcome = ShareInitializers()(model)
    assert [refusal.reason for refusal in outcome.refusals] == [
        "the decoder is not tied to the word table"
    ]
    assert DECODER in model.graph.initializers


def test_equal_initializers_are_stored_once_and_unequal_ones_are_not():
    model = from_text("""<ir_version: 10, opset_import: ["" : 23]>
    g (float[2] x) => (float[2] y)
    <float[2] a = {1, 2}, float[2] b = {1, 2}, float[1, 2] row = {1, 2}, int64 zero = {0},
     int64[1] zeros = {0}, float[2] c = {1, 3}>
    { s = Add(x, a) t = Add(s, b) u = Add(t, row) v = Add(u, c)
      w = Gather(v, zeros) z = Gather(w, zero) y = Add(t, z) }""")
    before = {name: value.const_value.numpy() for name, value in model.graph.initializers.items()}
    outcome = ShareInitializers()(model)
    assert outcome.rewritten == 1
    assert set(before) - set(model.graph.initializers) in ({"a"}, {"b"})
    for name, value in model.graph.initializers.items():
        assert np.array_equal(value.const_value.numpy(), before[name])


def test_a_tied_decoder_in_standard_operators(tmp_path):
    model = traced("fill-mask")
    feeds = feeds_for(model)
    before = run_model(model, feeds, tmp_path)
    share = ShareInitializers(standard=True)
    assert share(model).rewritten >= 1
    assert DECODER not in model.graph.initializers
    assert {node.domain for node in model.graph} == {""}
    (turned,) = model.graph.initializers[WORDS].uses()[1:]
    assert turned.node.op_type == "Transpose"
    assert turned.node.outputs[0].shape == model.graph.initializers[WORDS].shape[::-1]
    assert difference(before, run_model(model, feeds, tmp_path)) < 1e-5
    found = operators(model)
    assert share(model).rewritten == 0
    assert operators(model) == found
