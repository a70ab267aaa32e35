"""Spans of a context: their order, their places, and the two ways of decoding them."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_export.runtime.decoding.spans import (
    Window,
    best_spans,
    decode_answers,
    decode_squad_v2,
    locate_span,
    most_context,
    read_window,
)
from tests.runtime.decoding.encodings import TEXTS, encode, encode_windows, plain, wordpiece

LIBRARY = wordpiece(16, 4)
pipeline_options = st.fixed_dictionaries(
    {
        "top_k": st.integers(1, 30),
        "max_answer_len": st.integers(1, 40),
        "handle_impossible_answer": st.booleans(),
        "align_to_words": st.booleans(),
    }
)
squad_options = st.fixed_dictionaries(
    {
        "max_answer_len": st.integers(1, 40),
        "n_best_size": st.integers(1, 25),
        "null_score_diff_threshold": st.floats(-9, 9),
    }
)


def windows_of(text: str, seed: int) -> list[Window]:
    generator = np.random.default_rng(seed)
    return [
        read_window(
            window,
            *(3 * generator.normal(size=(2, len(window)))).astype(np.float32),
            cls_id=2,
        )
        for window in encode_windows("who sat", text)
    ]


@given(TEXTS, st.integers(0, 99), pipeline_options)
def test_answers_lie_in_the_context(text: str, seed: int, options: dict[str, Any]) -> None:
    answers = decode_answers(text, windows_of(text, seed), **options)
    assert 1 <= len(answers) <= options["top_k"]
    scores = [answer["score"] for answer in answers]
    assert scores == sorted(scores, reverse=True)
    assert all(score >= 0 for score in scores)
    for answer in answers:
        assert list(answer) == ["score", "start", "end", "answer"]
        assert 0 <= answer["start"] <= answer["end"] <= len(text)
        assert text[answer["start"] : answer["end"]] == answer["answer"]
    named = [answer["answer"].lower() for answer in answers if answer["answer"]]
    assert len(set(named)) == len(named)
    json.dumps(answers)


@given(TEXTS, st.integers(0, 99), st.integers(1, 30), squad_options)
def test_squad_v2_is_the_reference(
    text: str, seed: int, top_k: int, options: dict[str, Any]
) -> None:
    windows = windows_of(text, seed)
    answers = decode_squad_v2(text, windows, top_k=top_k, **options)
    prediction, n_best = reference_squad_v2(text, windows, options)
    assert answers[0]["answer"] == prediction
    everything = decode_squad_v2(text, windows, top_k=99, **options)
    assert answers == everything[:top_k]
    assert sum(answer["score"] for answer in everything) == pytest.approx(1)
    rest = [answer["score"] for answer in everything[1:]]
    assert rest == sorted(rest, reverse=True)
    if options["n_best_size"] > 1:
        found = {answer["answer"]: answer["score"] for answer in everything}
        assert found == pytest.approx(n_best)
    for answer in everything:
        assert text[answer["start"] : answer["end"]] == answer["answer"]


def reference_squad_v2(
    text: str, windows: list[Window], options: dict[str, Any]
) -> tuple[str, dict[str, float]]:
    """The reference's loops, plainly: the predicted text, and each listed text's probability."""
    limit = options["max_answer_len"]
    nulls, spans = [], []
    for number, window in enumerate(windows):
        starts, ends = window.start_logits.tolist(), window.end_logits.tolist()
        nulls.append(float(window.start_logits[0] + window.end_logits[0]))
        order = range(len(starts))
        for start in sorted(order, key=lambda i: -starts[i])[: options["n_best_size"]]:
            for end in sorted(order, key=lambda i: -ends[i])[: options["n_best_size"]]:
                inside = window.context[start] and window.context[end]
                if inside and 0 <= end - start < limit and owner(windows, number, start) == number:
                    total = float(window.start_logits[start] + window.end_logits[end])
                    offsets = window.encoding.offsets
                    spans.append((total, text[offsets[start][0] : offsets[end][1]]))
    listed: dict[str, float] = {}
    for total, answer in sorted([*spans, (min(nulls), "")], key=lambda span: -span[0]):
        if len(listed) < options["n_best_size"]:
            listed.setdefault(answer, total)
    listed.setdefault("", min(nulls))
    best = max((total for total, _ in spans), default=-math.inf)
    prediction = next((answer for total, answer in spans if total == best), "")
    if min(nulls) - best > options["null_score_diff_threshold"]:
        prediction = ""
    whole = sum(math.exp(total - max(listed.values())) for total in listed.values())
    peak = max(listed.values())
    return prediction, {name: math.exp(total - peak) / whole for name, total in listed.items()}


def owner(windows: list[Window], number: int, position: int) -> int:
    """The first window in which the token has the most context."""
    span = windows[number].encoding.offsets[position]
    best, found = -1.0, -1
    for other, window in enumerate(windows):
        inside = [i for i, is_context in enumerate(window.context) if is_context]
        for place in inside:
            if window.encoding.offsets[place] == span:
                score = min(place - inside[0], inside[-1] - place) + 0.01 * len(inside)
                if score > best:
                    best, found = score, other
    return found


@given(
    st.integers(1, 12), st.integers(1, 40), st.integers(1, 15), st.integers(0, 999), st.booleans()
)
def test_best_spans_are_the_best(
    size: int, top_k: int, longest: int, seed: int, tied: bool
) -> None:
    generator = np.random.default_rng(seed)
    start, end = generator.random((2, size)).astype(np.float32)
    if tied:
        start, end = np.round(start, 1), np.round(end, 1)
    context = generator.random(size) < 0.7
    first, last, scores = best_spans(start, end, context, top_k=top_k, max_answer_len=longest)
    expected = sorted(
        (
            (-float(start[i] * end[j]), i, j)
            for i in range(size)
            for j in range(i, min(size, i + longest))
            if context[i] and context[j]
        ),
    )[:top_k]
    found = zip((-scores).tolist(), first.tolist(), last.tolist(), strict=True)
    assert list(found) == expected


@given(TEXTS)
def test_every_token_has_most_context_in_one_window(text: str) -> None:
    windows = windows_of(text, 0)
    masks = most_context(windows)
    chosen = [
        window.encoding.offsets[position]
        for window, mask in zip(windows, masks, strict=True)
        for position in np.flatnonzero(mask)
    ]
    assert sorted(set(chosen)) == sorted(set(encode(text).offsets[1:-1]))
    assert all((mask <= window.context).all() for window, mask in zip(windows, masks, strict=True))


def test_a_span_is_widened_to_words() -> None:
    text = "the cats running"
    encoding = encode("the", text)
    assert list(encoding.tokens[3:8]) == ["the", "cat", "##s", "run", "##n"]
    assert locate_span(encoding, 5, 6, align_to_words=False) == (7, 12)
    assert locate_span(encoding, 5, 6, align_to_words=True) == (4, 16)


def test_equal_answers_are_one_with_the_sum_of_their_scores() -> None:
    text = "Cat dog cat"
    encoding = encode("who", text)
    level = np.zeros(len(encoding), dtype=np.float32)
    window = read_window(encoding, level, level, cls_id=2)
    answers = decode_answers(text, [window], top_k=2, max_answer_len=1)
    quarter = 1 / 4**2  # [CLS] and three words share the probability
    assert [(answer["answer"], answer["start"]) for answer in answers] == [("Cat", 0), ("dog", 4)]
    assert [answer["score"] for answer in answers] == pytest.approx([2 * quarter, quarter])


@given(TEXTS)
def test_words_are_those_of_the_library(text: str) -> None:
    encoding = LIBRARY.encode("the cats sat", text)
    for window in (encoding, *encoding.overflowing):
        for token, sequence in enumerate(window.sequence_ids):
            if sequence == 1:
                expected = window.word_to_chars(window.token_to_word(token), 1)
                found = locate_span(plain(window), token, token, align_to_words=True)
                assert found == expected
