"""Weight files that are damaged at random."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checkpoints.fuzz import FORMATS

COUNT = os.environ.get("BERT_EXPORT_FUZZ", "200")
"""Damaged files of each format; ten thousand find what is rare."""


@pytest.mark.long
def test_damaged_files_are_read_or_refused_in_one_line() -> None:
    # A process of its own: it has limits of memory, and a library may crash.
    done = subprocess.run(
        [sys.executable, "-m", "tests.checkpoints.fuzz", COUNT],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    counts = re.findall(rf"^([\w-]+): {COUNT} files, [0-9]+ read", done.stdout, re.MULTILINE)
    assert counts == list(FORMATS), done.stdout
