"""What ``load`` says of arguments that are of no use, before it reads anything."""

from __future__ import annotations

from typing import Any

import pytest

from bert_export.errors import BundleError, InputError
from bert_export.runtime.loading import load, threads_for


@pytest.mark.parametrize("path", [None, 3, b"bundle", ["bundle"]])
def test_what_is_no_path(path: Any) -> None:
    with pytest.raises(InputError, match="path is wrong: expected a bundle's folder, got"):
        load(path)


def test_threads_of_no_bundle() -> None:
    with pytest.raises(BundleError, match="no such folder"):
        threads_for("absent", None, 1)
