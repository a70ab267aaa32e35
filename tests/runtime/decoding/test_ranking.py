"""Order of scores."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bert_export.runtime.decoding.ranking import largest

few = st.lists(st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 2.0]), max_size=12)


@given(few, st.integers(0, 15))
def test_the_largest_come_first_and_equal_ones_keep_their_places(
    values: list[float], count: int
) -> None:
    expected = sorted(range(len(values)), key=lambda place: (-values[place], place))[:count]
    places = largest(np.array(values, np.float32), count)
    assert places.tolist() == expected
    assert places.dtype == np.intp
