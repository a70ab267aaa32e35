"""Words behind masks: the best of the vocabulary, in a stable order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bert_export.runtime.decoding.masks import (
    best_candidates,
    describe_candidates,
    find_candidates,
)


@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 3), st.integers(1, 12)),
        elements=st.floats(-50, 50, width=32),
    ),
    st.data(),
)
def test_candidates_are_sorted_probabilities(logits: np.ndarray[Any, Any], data: Any) -> None:
    width = logits.shape[1]
    targets = data.draw(st.none() | st.lists(st.integers(0, width - 1), min_size=1, unique=True))
    top_k = data.draw(st.integers(0, width))
    ids, scores = best_candidates(logits, top_k=top_k, targets=targets)
    count = top_k if targets is None else min(top_k, len(targets))
    probabilities = torch.tensor(logits).softmax(-1)
    kept = probabilities if targets is None else probabilities[:, targets]
    assert ids.shape == scores.shape == (len(logits), count)
    np.testing.assert_allclose(scores, kept.topk(count).values, atol=1e-6)
    np.testing.assert_allclose(scores, probabilities.gather(1, torch.tensor(ids)), atol=1e-6)
    for row in ids.tolist():
        assert len(set(row)) == count
        assert targets is None or set(row) <= set(targets)


def test_equal_candidates_come_in_the_order_of_ids() -> None:
    ids, _ = best_candidates(np.float32([[1, 2, 2, 0, 2, 1]]), top_k=4)
    assert ids.tolist() == [[1, 2, 4, 0]]


def test_only_the_rows_of_masks_are_ranked() -> None:
    logits = np.float32([[9, 0, 0], [0, 9, 0], [0, 0, 9]])
    found = find_candidates(np.array([5, 4, 4]), logits, mask_id=4, top_k=1)
    assert found.positions.tolist() == [1, 2]
    assert found.ids.tolist() == [[1], [2]]
    empty = find_candidates(np.array([5, 5, 5]), logits, mask_id=4, top_k=2)
    assert empty.ids.shape == empty.scores.shape == (0, 2)


def test_a_sequence_holds_the_candidate_and_special_tokens_where_other_masks_stand() -> None:
    """Ids spell themselves; those below 5 are special, 0 is the padding and 4 the mask."""

    def spell(ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        return " ".join(str(index) for index in ids if index > 4 or not skip_special_tokens)

    logits = np.eye(9, dtype=np.float32)[[7, 8]]  # (2, 9)
    for ids, sequences in (
        ([2, 4, 6, 3, 0], ["7 6"]),
        ([2, 4, 6, 4, 3, 0], ["2 7 6 4 3", "2 4 6 8 3"]),
    ):
        row = np.array(ids)
        masks = int((row == 4).sum())
        candidates = find_candidates(row, logits[:masks], mask_id=4, top_k=1)
        answers = describe_candidates(row, candidates, pad_id=0, spell=spell)
        assert [answer[0]["sequence"] for answer in answers] == sequences
        assert [answer[0]["token"] for answer in answers] == [7, 8][:masks]
        assert [answer[0]["token_str"] for answer in answers] == ["7", "8"][:masks]
