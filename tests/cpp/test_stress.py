"""Many threads call opened bundles at once, and each gets the answers that it gets alone."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bert_export.exporter import Export
from tests.cpp.building import THREAD_SANITIZER, build
from tests.cpp.test_bundles import OLDER
from tests.cpp.test_tasks import LONG, PROMPTS, TARGETS, TASKS

pytestmark = pytest.mark.long

FULL = "BERT_EXPORT_CPP_THREADS" in os.environ
"""Whether 8 threads make 1,000 calls each under the thread sanitizer: a further build, minutes."""

_SUPPRESSIONS = Path(__file__).with_name("thread_sanitizer.supp")

Call = tuple[int, dict[str, Any] | str]
"""A bundle's place and a request, or ``stream`` with one."""

CALLS: list[Call] = [
    (0, {"inputs": "the cat sat"}),
    (0, {"inputs": ["the cat", LONG, "é", "文 in Paris"] * 3, "top_k": 2}),
    (1, {"inputs": LONG, "aggregation_strategy": "max", "stride": 3, "ignore_labels": []}),
    (1, {"inputs": ["the cat", "", "New York"] * 30, "ignore_labels": []}),
]
BUNDLES = [
    ("onnxruntime", OLDER / "v2-text-classification-int8-search"),
    ("onnxruntime", OLDER / "v2-token-classification-fp32"),
]
GENERATING: list[dict[str, Any] | str] = [
    {"inputs": PROMPTS, "num_beams": 3, "num_return_sequences": 2, "min_new_tokens": 4},
    {"inputs": PROMPTS, "batch_size": 3, "max_new_tokens": 9},
    {
        "inputs": PROMPTS[0],
        "num_beams": 1,
        "do_sample": True,
        "seed": 5,
        "num_return_sequences": 3,
    },
    "stream " + json.dumps({"inputs": PROMPTS[0], "num_beams": 1, "min_new_tokens": 9}),
]


def stress(
    folder: Path,
    *,
    threads: int,
    calls: int,
    bundles: list[tuple[str, Path]],
    requests: list[Call],
) -> int:
    """By how many bytes ``stress`` says that the heap grew; it fails where an answer is another or
    it does not end by itself.

    What ``stress`` writes at its end; it fails where it does not end by itself.

    Args:
        folder: Of the build.
        threads: That call at once.
        calls: Of each of them, and as many again.
        bundles: Targets and paths.
        requests: Which the threads make in turn.
    """
    lines = (
        f"{place} {call if isinstance(call, str) else json.dumps(call)}\n"
        for place, call in requests
    )
    done = subprocess.run(
        [
            *(str(folder / "stress"), str(threads), str(calls), "2"),
            *(f"{target}:{path}" for target, path in bundles),
        ],
        input="".join(lines).encode(),
        capture_output=True,
        check=False,
        env={**os.environ, "TSAN_OPTIONS": f"suppressions={_SUPPRESSIONS}"},
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-8000:]
    outcome: dict[str, int] = json.loads(done.stdout)
    grown = outcome.pop("grown")
    assert outcome == {"differences": 0, "wrong_children": 0, "wrong_while_closing": 0}
    return grown


@pytest.fixture
def generating(
    request: pytest.FixtureRequest, tiny_export: Callable[..., Export], halves_export: Export
) -> tuple[list[tuple[str, Path]], list[Call]]:
    """Bundles that generate, for every engine, and calls of them."""
    pytest.importorskip("openvino")
    request.getfixturevalue("module")  # which verifies the native target
    head, config, _ = TASKS["text-generation"]
    own = tiny_export("text-generation", head, targets=TARGETS, precision="fp32", **config).path
    bundles = [(target, own) for target in TARGETS]
    bundles += [(target, halves_export.path) for target in TARGETS[:2]]
    return bundles, [(place, call) for place in range(len(bundles)) for call in GENERATING]


def test_threads(plain: Path) -> None:
    """Twice as many calls leave no more behind: what is kept per call would be megabytes."""
    grown = stress(plain, threads=8, calls=60, bundles=BUNDLES, requests=CALLS)
    assert grown < 256 << 10


def test_threads_under_sanitizers(sanitized: Path) -> None:
    stress(sanitized, threads=4, calls=4, bundles=BUNDLES, requests=CALLS)


@pytest.mark.filterwarnings("ignore:target")
def test_threads_that_generate(
    plain: Path, generating: tuple[list[tuple[str, Path]], list[Call]]
) -> None:
    bundles, requests = generating
    stress(plain, threads=4, calls=10, bundles=bundles, requests=requests)


@pytest.mark.filterwarnings("ignore:target")
@pytest.mark.skipif(not FULL, reason="BERT_EXPORT_CPP_THREADS is not set")
def test_threads_of_every_task(
    builds: Path,
    tiny_export: Callable[..., Export],
    generating: tuple[list[tuple[str, Path]], list[Call]],
) -> None:
    folder = build(builds, THREAD_SANITIZER)
    bundles, requests = generating
    for task, (head, config, calls) in TASKS.items():
        if task != "zero-shot-classification":
            export = tiny_export(task, head, targets=("onnxruntime", "native"), **config)
            for target in ("onnxruntime", "native"):
                requests += [(len(bundles), call) for call in calls[:2]]
                bundles.append((target, export.path))
    # And as many calls again.
    stress(folder, threads=8, calls=500, bundles=bundles, requests=requests)


@pytest.mark.skipif(not FULL, reason="BERT_EXPORT_CPP_THREADS is not set")
@pytest.mark.parametrize("program", ["native_tests", "unit_tests"])
def test_the_tests_in_c_under_the_thread_sanitizer(builds: Path, program: str) -> None:
    subprocess.run([build(builds, THREAD_SANITIZER) / program], check=True)
