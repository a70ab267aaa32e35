"""The C++ runtime leaves nothing in the home folder: telemetry is off before an engine loads."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bert_export.exporter import Export
from tests.test_telemetry import SWITCHES

pytestmark = pytest.mark.long


@pytest.mark.parametrize(("switch", "left"), [({}, False), ({"ORT_DISABLE_TELEMETRY": "0"}, True)])
def test_telemetry_is_off_unless_it_is_asked_for(
    switch: dict[str, str],
    left: bool,
    plain: Path,
    tiny_export: Callable[..., Export],
    tmp_path: Path,
) -> None:
    bundle = tiny_export("text-classification", "BertForSequenceClassification", num_labels=3).path
    kept = {name: value for name, value in os.environ.items() if name not in SWITCHES}
    done = subprocess.run(
        [str(plain / "run_graph"), str(bundle)],
        stdin=subprocess.DEVNULL,
        env=kept | {"HOME": str(tmp_path)} | switch,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert bool(list(tmp_path.rglob("*"))) == left
