"""Outliers planted in a real head break plain INT8 and not ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from planted_outliers import PLAIN, int8_distances, plant, read_head

from bert_export.quantization.options import QuantizationOptions
from bert_export.runtime.batching import pad_rows

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def demo(minilm: Path) -> str:
    del minilm  # skips where the weights are absent
    return "taxinli"


def test_planting_leaves_the_float_answers(demo: str) -> None:
    head, texts = read_head(demo)
    feeds = pad_rows(texts.held_out[:8], pad_id=0)
    tensors = [torch.from_numpy(feeds[name]) for name in head.inputs]
    with torch.inference_mode():
        before = head(*tensors).numpy()
        plant(head, factor=30.0, channels=8)
        after = head(*tensors).numpy()
    np.testing.assert_allclose(before, after, atol=2e-4)


def test_plain_ranges_break_and_ours_do_not(demo: str) -> None:
    head, texts = read_head(demo)
    usual, untouched = int8_distances(head, texts, (PLAIN, QuantizationOptions()))
    plant(head, factor=30.0, channels=8)
    plain, ours = int8_distances(head, texts, (PLAIN, QuantizationOptions()))
    assert plain.error > 2 * usual.error
    assert plain.agreement < 0.9
    assert ours.error < 1.1 * untouched.error
    assert ours.agreement >= untouched.agreement - 0.02  # labels that are a toss-up move by chance
    assert ours.agreement >= usual.agreement + 0.02  # planted, ours beats plain ranges as trained
    assert plain.error > 7 * ours.error
