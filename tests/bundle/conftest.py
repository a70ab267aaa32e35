"""What tests of bundles share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bundle.small import write_small


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    write_small(folder)
    return folder
