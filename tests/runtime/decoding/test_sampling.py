"""Filters equal the original's logits warpers, and draws follow the probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from transformers.generation import (
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from bert_export.runtime.decoding.sampling import (
    Sampling,
    added_text,
    draw_token,
    filter_logits,
    keep_top_k,
    keep_top_p,
)

LOGITS = arrays.arrays(np.float32, st.integers(1, 40), elements=st.floats(-30, 30, width=32))


@given(LOGITS, st.floats(0.05, 5), st.integers(0, 45), st.floats(0, 1))
def test_filters_equal_the_warpers(
    logits: np.ndarray[Any, Any], temperature: float, top_k: int, top_p: float
) -> None:
    scores = torch.tensor(logits)[None]
    scaled = TemperatureLogitsWarper(temperature)(None, scores)
    np.testing.assert_allclose(
        logits / np.float32(temperature), scaled[0].numpy(), rtol=1e-6, atol=0
    )
    if top_k:
        kept = TopKLogitsWarper(top_k)(None, scores)[0].numpy()
        np.testing.assert_array_equal(keep_top_k(logits, top_k), kept)
    if _far_from_bounds(logits, top_p):
        kept = TopPLogitsWarper(top_p)(None, scores)[0].numpy()
        np.testing.assert_array_equal(keep_top_p(logits, top_p), kept)


def _far_from_bounds(logits: np.ndarray[Any, Any], top_p: float) -> bool:
    """Whether rounding and the order of equal logits cannot change what ``top_p`` keeps."""
    ordered = np.sort(logits.astype(np.float64))
    powers = np.exp(ordered - ordered[-1])
    below = np.cumsum(powers / powers.sum())
    return (
        len(set(logits.tolist())) == len(logits) and float(np.abs(below - (1 - top_p)).min()) > 1e-5
    )


@pytest.mark.parametrize("width", [5, 300, 30522])
@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(),
        Sampling(temperature=0.7),
        Sampling(top_k=0, top_p=0.9),
        Sampling(temperature=1.3, top_k=20, top_p=0.5),
        Sampling(top_k=0, top_p=0.0),
    ],
)
def test_the_chain_of_filters_equals_upstreams(width: int, sampling: Sampling) -> None:
    logits = np.random.default_rng(width).normal(size=width, scale=3).astype(np.float32)
    scores = torch.tensor(logits)[None]
    warpers: list[Any] = [TemperatureLogitsWarper(sampling.temperature)]
    if sampling.top_k:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        warpers.append(TopPLogitsWarper(sampling.top_p))
    for warper in warpers:
        scores = warper(None, scores)
    expected, found = scores[0].numpy(), filter_logits(logits, sampling)
    np.testing.assert_array_equal(np.isinf(found), np.isinf(expected))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@given(LOGITS, st.floats(0, 1, exclude_max=True))
def test_a_filtered_token_is_never_drawn(logits: np.ndarray[Any, Any], number: float) -> None:
    kept = filter_logits(logits, Sampling(top_k=3, top_p=0.8))
    token = draw_token(kept, number)
    assert 0 <= token < len(logits)
    assert np.isfinite(kept[token])


def test_draws_follow_the_probabilities() -> None:
    logits = np.log(np.float32([0.1, 0.6, 0.3]))
    generator = np.random.default_rng(0)
    counts = np.bincount(
        [draw_token(logits, number) for number in generator.random(5000)], minlength=3
    )
    np.testing.assert_allclose(counts / 5000, [0.1, 0.6, 0.3], atol=0.03)


def test_what_new_tokens_add_begins_where_the_prompt_ends() -> None:
    assert added_text("the cat", "the cat sat") == " sat"
    assert added_text("the cat", "the cats") == "s"
    assert added_text("", "a") == "a"
