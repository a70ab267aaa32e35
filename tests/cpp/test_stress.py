"""Many threads call opened bundles at once, and each gets the answers that it gets alone."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cpp.building import THREAD_SANITIZER, build
from tests.cpp.test_bundles import OLDER
from tests.cpp.test_tasks import LONG, TASKS

pytestmark = pytest.mark.long

FULL = "BERT_EXPORT_CPP_THREADS" in os.environ
"""Whether 8 threads make 1,000 calls each under the thread sanitizer: a further build, minutes."""

_SUPPRESSIONS = Path(__file__).with_name("thread_sanitizer.supp")

CALLS: list[tuple[int, dict[str, Any]]] = [
    (0, {"inputs": "the cat sat"}),
    (0, {"inputs": ["the cat", LONG, "é", "文 in Paris"] * 3, "top_k": 2}),
    (1, {"inputs": LONG, "aggregation_strategy": "max", "stride": 3, "ignore_labels": []}),
    (1, {"inputs": ["the cat", "", "New York"] * 30, "ignore_labels": []}),
]
BUNDLES = [OLDER / "v2-text-classification-int8-search", OLDER / "v2-token-classification-fp32"]


def stress(
    folder: Path, *, threads: int, calls: int, bundles: list[Path], requests: list[Any]
) -> dict[str, int]:
    """What ``stress`` writes at its end; it fails where it does not end by itself."""
    done = subprocess.run(
        [str(folder / "stress"), str(threads), str(calls), "2", *map(str, bundles)],
        input="".join(f"{place} {json.dumps(call)}\n" for place, call in requests).encode(),
        capture_output=True,
        check=False,
        env={**os.environ, "TSAN_OPTIONS": f"suppressions={_SUPPRESSIONS}"},
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-8000:]
    outcome: dict[str, int] = json.loads(done.stdout)
    return outcome


def test_threads(plain: Path) -> None:
    """Twice as many calls leave no more behind: what is kept per call would be megabytes."""
    outcome = stress(plain, threads=8, calls=60, bundles=BUNDLES, requests=CALLS)
    assert outcome["grown"] < 256 << 10
    assert (outcome["differences"], outcome["wrong_while_closing"]) == (0, 0)


def test_threads_under_sanitizers(sanitized: Path) -> None:
    outcome = stress(sanitized, threads=4, calls=4, bundles=BUNDLES, requests=CALLS)
    assert (outcome["differences"], outcome["wrong_while_closing"]) == (0, 0)


@pytest.mark.skipif(not FULL, reason="BERT_EXPORT_CPP_THREADS is not set")
def test_threads_of_every_task(builds: Path, tiny_export: Callable[..., Any]) -> None:
    bundles: list[Path] = []
    requests: list[Any] = []
    for task, (head, config, calls) in TASKS.items():
        if task != "zero-shot-classification":
            requests += [(len(bundles), call) for call in calls[:2]]
            bundles.append(tiny_export(task, head, **config).path)
    outcome = stress(
        build(builds, THREAD_SANITIZER),
        threads=8,
        calls=500,  # and as many again
        bundles=bundles,
        requests=requests,
    )
    assert (outcome["differences"], outcome["wrong_while_closing"]) == (0, 0)
