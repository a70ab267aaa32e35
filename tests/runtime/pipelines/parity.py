"""Comparing a pipeline's answer with the original's."""

from __future__ import annotations

from typing import Any

import pytest

__all__ = ["assert_same"]


def assert_same(found: Any, expected: Any) -> None:
    """The same types, keys in the same order, strings and numbers; scores to 1e-5.

    Args:
        found: Our answer: plain Python values.
        expected: The original's; its numpy numbers count as Python's.
    """
    if isinstance(expected, dict):
        assert type(found) is dict
        assert list(found) == list(expected)
        for key, value in expected.items():
            assert_same(found[key], value)
    elif isinstance(expected, list):
        assert type(found) is list
        assert len(found) == len(expected), (found, expected)
        for own, value in zip(found, expected, strict=True):
            assert_same(own, value)
    elif isinstance(expected, str | int) or expected is None:
        assert found == expected
        assert type(found) is type(expected)
    else:
        assert type(found) is float
        assert found == pytest.approx(float(expected), abs=1e-5)
