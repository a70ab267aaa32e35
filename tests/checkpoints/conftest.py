"""Checkpoints that the reader tests take apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.oracle import save_tiny

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture
def shared_data() -> Path:
    """Data beside the repository; the test is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"no data beside the repository, in {SHARED.name}")
    return SHARED


@pytest.fixture
def pretraining(tmp_path: Path) -> Path:
    """A tiny pre-training checkpoint of the original implementation."""
    folder = tmp_path / "pretraining"
    save_tiny("BertForPreTraining", folder)
    return folder


@pytest.fixture
def sentence(tmp_path: Path) -> Path:
    """A tiny encoder with mean pooling and normalization after it."""
    folder = tmp_path / "sentence"
    save_tiny("BertModel", folder)
    write_modules(folder, {"pooling_mode_mean_tokens": True})
    return folder


def write_modules(
    folder: Path, pooling: dict[str, Any], *extra: tuple[str, str], transformer: str = ""
) -> None:
    """Write ``modules.json`` and the pooling's config: transformer, pooling, then ``extra``."""
    kinds = [("Transformer", transformer), ("Pooling", "1_Pooling")]
    kinds += list(extra) or [("Normalize", "2_Normalize")]
    rows = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(rows))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    pooling = {"word_embedding_dimension": 16, **pooling}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))


def rewrite(path: Path, **fields: Any) -> None:
    """Put fields into a JSON object file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
