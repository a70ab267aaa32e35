"""The C++ runtime generates text as the Python package: by two graphs, and piece by piece."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bert_export
from bert_export.exporter import Export
from tests.cpp.test_bundles import OLDER
from tests.cpp.test_tasks import (
    GENERATION,
    LONG,
    PROMPTS,
    REFUSED_OPTIONS,
    TARGETS,
    TASKS,
    ask,
    assert_equal,
    expected,
)

pytestmark = pytest.mark.long

CALLS: list[dict[str, Any]] = [
    {"inputs": PROMPTS[0]},
    {"inputs": PROMPTS, "batch_size": 3},
    {"inputs": PROMPTS[:1]},
    {"inputs": []},
    *({"inputs": PROMPTS, "max_new_tokens": 6, **options} for options in GENERATION),
    {"inputs": PROMPTS[0], "num_beams": 2, "num_return_sequences": 2},
    {"inputs": PROMPTS[0], "num_beams": 1, "max_length": 5, "min_length": 5},
    {"inputs": PROMPTS[0], "num_beams": 1, "max_new_tokens": None, "eos_token_id": [0]},
    {"inputs": PROMPTS[0], "num_beams": 1, "max_new_tokens": 500, "min_new_tokens": 500},
    {"inputs": [PROMPTS[0], LONG * 2], "truncation": True},
    {"inputs": [PROMPTS[0], LONG * 2]},
    {"inputs": PROMPTS[0], "truncation": "middle"},
    {"inputs": PROMPTS[0], "max_length": 1},
    {"inputs": PROMPTS[0], "min_length": -1},
    {"inputs": PROMPTS[0], "max_new_tokens": 0},
    {"inputs": ["the", 3]},
    *({"inputs": "the", **options} for options in REFUSED_OPTIONS),
]


@pytest.fixture
def halves(halves_export: Export) -> Path:
    """An encoder-decoder's bundle, for both targets that run two graphs."""
    pytest.importorskip("openvino")
    return halves_export.path


@pytest.mark.parametrize(
    ("task", "target", "calls"),
    [
        ("summarization", "onnxruntime", CALLS),
        ("summarization", "openvino", CALLS[1:6]),
        ("text2text-generation", "onnxruntime", CALLS[:4]),
    ],
)
def test_answers(plain: Path, halves: Path, task: str, target: str, calls: list[Any]) -> None:
    opened, *found = ask(plain, halves, calls, task, "2", target)
    assert opened == (0, task)
    with bert_export.load(halves, task=task, target=target, threads=1) as pipeline:
        for outcome, call in zip(found, calls, strict=True):
            assert_equal(outcome, expected(pipeline, call), call)


def test_what_the_bundle_says(plain: Path, halves: Path, tmp_path: Path) -> None:
    """A prefix, beams and a first token of its own; and parameters that are none."""
    shutil.copytree(halves, tmp_path / "own")
    path = tmp_path / "own" / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))

    def write(**fields: Any) -> None:
        manifest["postprocessing"] |= fields
        path.write_text(json.dumps(manifest), encoding="utf-8")

    write(prefix="a dog: ", num_beams=3, early_stopping="never", decoder_start_token_id=4)
    calls: list[Any] = [{"inputs": PROMPTS}, {"inputs": "the", "num_beams": 1}]
    opened, *found = ask(plain, path.parent, calls)
    assert opened == (0, "summarization")
    with bert_export.load(path.parent, threads=1) as pipeline:
        for outcome, call in zip(found, calls, strict=True):
            assert_equal(outcome, expected(pipeline, call), call)
    for wrong in ({"early_stopping": "often"}, {"eos_token_id": [-3]}, {"num_beams": 0}):
        write(early_stopping=False, eos_token_id=[3], num_beams=1)
        write(**wrong)
        ((status, message),) = ask(plain, path.parent, [])
        assert (status, message.partition(":")[0]) == (1, "bundle has malformed postprocessing")
    write(num_beams=1)
    encoder = manifest["engines"][0]["graph"]["encoder"]["file"]
    record = manifest["files"].pop(encoder)
    write()
    ((status, message),) = ask(plain, path.parent, [])
    assert status == 1
    assert f"does not list the file {encoder}" in message
    manifest["files"][encoder] = record
    del manifest["engines"][0]["graph"]["encoder"]
    write()
    ((status, message),) = ask(plain, path.parent, [])
    assert (status, message.partition(":")[0]) == (1, "bundle has a graph of another interface")


def test_another_task_is_refused(plain: Path, halves: Path) -> None:
    ((status, message),) = ask(plain, halves, [], "text-generation")
    assert status == 4
    assert message.startswith(
        "task text-generation does not fit the bundle: expected text2text-generation or summar"
    )


@pytest.fixture
def causal(tiny_export: Callable[..., Export]) -> Path:
    """The bundle that the tests of all tasks have."""
    head, config, _ = TASKS["text-generation"]
    task = "text-generation"
    return tiny_export(task, head, targets=TARGETS, precision="fp32", **config).path


STREAMS: list[dict[str, Any]] = [
    {"min_new_tokens": 12},
    {"max_new_tokens": 1},
    {"do_sample": True, "seed": 3, "repetition_penalty": 1.2, "min_new_tokens": 9},
    {"no_repeat_ngram_size": 1, "eos_token_id": [3, 50]},
    {"max_length": 9},
    {"num_beams": 2},
    {"num_beams": 2, "num_return_sequences": 2},
    {"batch_size": 2},
]


def compare_pieces(plain: Path, bundle: Path, options: list[dict[str, Any]]) -> int:
    """Pieces are Python's; gives how many there were."""
    asked = [(text, own) for text in ("the cat sat", "a dog isn't on 中文") for own in options]
    lines = [f"stream 999 {json.dumps({'inputs': text, **own})}" for text, own in asked]
    _, *found = ask(plain, bundle, lines)
    count = 0
    with bert_export.load(bundle, threads=1) as opened:
        pipeline: Any = opened  # of either task that generates

        def stream(text: str, **own: Any) -> list[str]:
            return list(pipeline.stream(text, **own))

        for outcome, (text, own) in zip(found, asked, strict=True):
            wanted = expected(stream, {"inputs": text, **own})
            if isinstance(wanted, list):
                count += len(wanted)
                wanted = [[len(piece.encode()) for piece in wanted], "".join(wanted)]
            assert_equal(outcome, wanted, own)
    return count


@pytest.mark.usefixtures("module")
@pytest.mark.filterwarnings("ignore:target")
def test_pieces_of_a_continuation(plain: Path, causal: Path) -> None:
    own: list[dict[str, Any]] = [{"return_full_text": False}, {"max_length": 2}]
    assert compare_pieces(plain, causal, STREAMS + own) > 20


def test_pieces_of_an_answer(plain: Path, halves: Path) -> None:
    own: list[dict[str, Any]] = [{"truncation": True, "min_length": 8}]
    assert compare_pieces(plain, halves, STREAMS + own) > 20


@pytest.mark.usefixtures("module")
@pytest.mark.filterwarnings("ignore:target")
def test_a_caller_may_stop(plain: Path, causal: Path) -> None:
    call = json.dumps({"inputs": "the cat sat", "min_new_tokens": 12})
    _, whole, two, other = ask(
        plain, causal, [f"stream 999 {call}", f"stream 2 {call}", 'stream 9 {"inputs": 3}']
    )
    assert two[1][0] == whole[1][0][:2]
    assert len(whole[1][0]) > 2
    assert other == (2, "text is of the wrong type: expected a string, got int.")


def test_streams_of_other_tasks(plain: Path) -> None:
    _, (status, message) = ask(plain, OLDER / "v2-token-classification-fp32", ["stream 9 {}"])
    assert (status, message.partition(":")[0]) == (4, "streaming does not fit the bundle")
