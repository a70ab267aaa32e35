"""Bundles that are handed over."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bert_export.exporter import export
from tests.checkpoints.conftest import write_modules


@pytest.fixture(scope="session")
def embeddings(tiny: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Vectors of a tiny encoder, pooled by their mean and normalized."""
    folder = tmp_path_factory.mktemp("sentence")
    shutil.copytree(tiny("BertModel"), folder / "model")
    write_modules(folder / "model", {"pooling_mode_mean_tokens": True})
    return export(task="sentence-embedding", model=folder / "model", output=folder / "bundle").path
