"""The choice is the likeliest, the first of equals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_export.runtime.decoding.choices import choose


@given(st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=1, max_size=9))
def test_the_choice_has_the_highest_score(logits: list[float]) -> None:
    texts = [str(index) for index in range(len(logits))]
    answer = choose(np.asarray(logits, dtype=np.float32), texts)
    assert answer["text"] == str(answer["choice"])
    assert answer["choice"] == logits.index(max(logits))
    assert answer["scores"][answer["choice"]] == max(answer["scores"])
    assert sum(answer["scores"]) == pytest.approx(1, abs=1e-5)
