"""Sentence vectors are cut and scaled, and prompts are left out of the pooling."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from bert_export.runtime.decoding.embeddings import finish_vectors, pooling_mask

VECTORS = arrays.arrays(
    np.float32,
    st.tuples(st.integers(0, 4), st.integers(1, 9)),
    elements=st.floats(-100, 100, width=32),
)


@given(VECTORS, st.none() | st.integers(1, 12))
def test_finished_vectors_equal_torchs(
    vectors: np.ndarray[Any, Any], truncate_dim: int | None
) -> None:
    cut = torch.tensor(vectors)[:, :truncate_dim]
    found = finish_vectors(vectors, truncate_dim=truncate_dim, normalize=False)
    np.testing.assert_array_equal(found, cut)
    found = finish_vectors(vectors, truncate_dim=truncate_dim, normalize=True)
    assert found.dtype == np.float32
    expected = torch.nn.functional.normalize(cut, dim=1)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_prompts_tokens_are_not_pooled() -> None:
    assert pooling_mask(5, 2).tolist() == [0, 0, 1, 1, 1]
    assert pooling_mask(3, 0).tolist() == [1, 1, 1]
    assert pooling_mask(2, 9).tolist() == [0, 0]
