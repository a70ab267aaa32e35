"""The cost of a program: that of the graph, but for masks; its weights are not read."""

from __future__ import annotations

import pytest

from bert_export.errors import BundleError
from bert_export.explanation.programs import price_program
from tests.explanation.test_explanation import D, F, H, N, flops, layer, linear
from tests.targets.native.programs import lowered, written_program


@pytest.fixture
def priced(tmp_path):
    def price(task, precision, texts, length, layers=2):
        path = written_program(lowered(task, precision), tmp_path)
        (tmp_path / "weights.data").unlink()
        return price_program(path, axes={"batch": texts, "sequence": length}, layers=layers)

    return price


def test_operations_are_those_of_the_graph(priced):
    costs = priced("token-classification", "fp32", 3, 7)
    for number in range(2):
        wanted = layer(3, 7, 7)
        wanted["attention"] -= 3 * N * 7 * 7  # no mask is added to scores
        own = {stage: cost for (place, stage), cost in costs.items() if place == number}
        assert flops(own) == wanted
    assert costs[None, "embeddings"].flop == (2 + 7) * 21 * H
    assert costs[None, "head"].flop == linear(21, H, 3)
    feed_forward = costs[0, "feed-forward"]
    assert feed_forward.weight_bytes == 4 * (H * F + F + F * H)
    assert feed_forward.activation_bytes == 4 * 21 * (F + H)  # bias and GELU are no results


def test_integer_products_count_apart(priced):
    costs = priced("text-classification", "int8", 2, 5)
    products = {place: cost.integer_op for place, cost in costs.items() if cost.integer_op}
    every, one = 2 * 5, 2
    assert products == {
        (0, "attention"): 2 * every * 4 * H * H,
        (0, "feed-forward"): 2 * every * 2 * H * F,
        (1, "attention"): 2 * (2 * every + 2 * one) * H * H,
        (1, "feed-forward"): 2 * one * 2 * H * F,
        (None, "head"): 2 * one * H * H,
    }
    scores = one * 5 * N
    assert costs[1, "attention"].flop >= scores * (4 * D + 6)
    # What a token's own query reads is quantized once more, and written.
    assert costs[1, "quantization"].activation_bytes == one * H


def test_a_program_of_fewer_layers_is_refused(priced):
    with pytest.raises(BundleError, match=r"too few layer norms: expected 7 in a row.*got 5"):
        priced("token-classification", "fp32", 1, 2, layers=3)
