"""The distance of outputs, in whatever parts they are observed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bert_export.datasets import DataSet
from bert_export.errors import InputError
from bert_export.evaluation.distance import Distance, measure_distance, sample_rows
from bert_export.evaluation.scorers import find_scorer
from bert_export.runtime.batching import Row, pad_rows
from bert_export.runtime.sessions.session import Outputs
from tests.support import open_tiny

NUMBERS = arrays(np.float32, (12, 3), elements=st.floats(-100, 100, width=32))


def texts(*lines: str) -> DataSet:
    places = tuple(f"line {number}" for number, _ in enumerate(lines, 1))
    return DataSet("texts.txt", "0" * 64, tuple({"text": line} for line in lines), places, {})


@given(NUMBERS, NUMBERS, st.integers(1, 11))
def test_parts_are_as_good_as_the_whole(values: np.ndarray, exact: np.ndarray, cut: int) -> None:
    whole, parts = Distance(), Distance()
    whole.observe("logits", values, exact)
    parts.observe("logits", values[:cut], exact[:cut])
    parts.observe("logits", values[cut:], exact[cut:])
    assert parts.share == pytest.approx(whole.share, rel=1e-6)
    assert whole.root == pytest.approx(whole.share**0.5)
    variance = exact.astype(np.float64).var()
    if variance > 1e-3:
        error = values.astype(np.float64) - exact
        assert whole.share == pytest.approx((error**2).mean() / variance, rel=1e-4)


def test_outputs_count_alike_whatever_their_size() -> None:
    distance = Distance()
    distance.observe("large", np.ones(1000), np.tile([0.0, 2.0], 500))  # all of the variance
    distance.observe("small", np.array([0.0, 2.0]), np.array([0.0, 2.0]))
    assert distance.share == pytest.approx(0.5)


def test_an_output_without_variance_has_a_huge_distance_or_none() -> None:
    distance = Distance()
    distance.observe("logits", np.ones(4), np.ones(4))
    assert distance.root == 0
    distance.observe("logits", np.zeros(4), np.ones(4))
    assert distance.root > 1e6


def test_padding_does_not_count(tiny: Callable[..., Path]) -> None:
    """Rows of very different lengths are as far off together as they are alone."""
    config = {"id2label": {0: "O", 1: "B-person", 2: "I-person"}}
    data = texts("a cat", "the dog sat on the mat and the cat looked at it for a while", "hello")
    with (
        open_tiny("token-classification", tiny("BertForTokenClassification", **config)) as exact,
        open_tiny(
            "token-classification", tiny("BertForTokenClassification", seed=1, **config)
        ) as other,
    ):
        examples = find_scorer(exact).prepare(exact, data, 0)
        rows = sample_rows(examples, 10_000)
        assert [len(row) for row in rows] == [len(row) for row, *_ in examples.rows]
        alone = Distance()
        for row in rows:
            feeds = pad_rows([row], pad_id=exact.tokenizer.pad_id)
            alone.observe(
                "logits",
                other.run(other.graph_feeds(feeds))["logits"],
                exact.run(exact.graph_feeds(feeds))["logits"],
            )
        assert measure_distance(other, exact, sample_rows(examples)).root == pytest.approx(
            alone.root, rel=1e-4
        )


def test_a_sample_is_even(tiny: Callable[..., Path]) -> None:
    data = texts(*["the cat sat"] * 40)
    with open_tiny("feature-extraction", tiny("BertModel")) as pipeline:
        examples = find_scorer(pipeline).prepare(pipeline, data, 0)
    length = len(examples.rows[0][0])
    assert len(sample_rows(examples, 10 * length)) == 10
    assert len(sample_rows(examples, 1000 * length)) == 40


def test_vectors_of_another_size_are_refused(tiny: Callable[..., Path]) -> None:
    with (
        open_tiny("feature-extraction", tiny("BertModel")) as exact,
        open_tiny(
            "feature-extraction", tiny("BertModel", hidden_size=32, num_attention_heads=4)
        ) as other,
    ):
        examples = find_scorer(exact).prepare(exact, texts("the cat"), 0)
        with pytest.raises(InputError, match="output last_hidden_state has another shape"):
            measure_distance(other, exact, sample_rows(examples))


def test_a_graph_of_all_words_is_compared_at_the_masked_ones(
    tiny: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny("BertForMaskedLM")
    with open_tiny("fill-mask", folder) as every, open_tiny("fill-mask", folder) as pruned:
        examples = find_scorer(every).prepare(every, texts("the [MASK] sat on the [MASK]"), 0)
        ((row,),) = examples.rows
        masked = row.input_ids == every.tokenizer.mask_id

        def split(rows: Sequence[Row], outputs: Outputs) -> list[Outputs]:
            return [
                {"logits": part["logits"][masked]} for part in every.split_outputs(rows, outputs)
            ]

        monkeypatch.setattr(pruned, "split_outputs", split)
        assert masked.sum() == 2
        assert measure_distance(every, pruned, sample_rows(examples)).root == 0
