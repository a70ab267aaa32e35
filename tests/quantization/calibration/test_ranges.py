"""What observers get of an activation: its tokens without padding, all finite."""

from __future__ import annotations

import numpy as np
import pytest

from bert_export.errors import QuantizationError
from bert_export.quantization.calibration.ranges import _unpadded

VALUES = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
FULL = np.ones((2, 3), dtype=bool)


def test_padding_is_left_out() -> None:
    is_token = np.array([[True, True, False], [True, False, False]])
    np.testing.assert_array_equal(_unpadded("x", VALUES, is_token), VALUES[is_token])
    np.testing.assert_array_equal(_unpadded("x", VALUES, FULL), VALUES.reshape(6, 4))


def test_an_activation_without_a_token_axis_is_taken_whole() -> None:
    pooled = VALUES[:, 0]
    np.testing.assert_array_equal(_unpadded("x", pooled, FULL), pooled)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(wrong: float) -> None:
    values = VALUES.copy()
    values[1, 2, 3] = wrong
    with pytest.raises(QuantizationError, match=r"activation x is not finite .* got 1 others"):
        _unpadded("x", values, FULL)
    with pytest.raises(QuantizationError, match="got 2 others"):
        _unpadded("x", np.concatenate([values, -values]), np.ones((4, 3), dtype=bool))


def test_a_sum_that_overflows_is_no_reason_to_refuse() -> None:
    values = np.full_like(VALUES, 3e38)
    np.testing.assert_array_equal(_unpadded("x", values, FULL), values.reshape(6, 4))
