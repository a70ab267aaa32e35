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
from tests.cpp.test_tasks import (
    GENERATION,
    LONG,
    PROMPTS,
    REFUSED_OPTIONS,
    TASKS,
    ask,
    assert_equal,
    expected,
)
from tests.oracle import save_tiny_halves

pytestmark = pytest.mark.long

TARGETS = ("onnxruntime", "openvino")
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


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random encoder-decoder, its halves of unlike sizes, exported."""
    pytest.importorskip("openvino")
    folder = tmp_path_factory.mktemp("halves")
    save_tiny_halves(
        folder / "checkpoint",
        encoder={"hidden_size": 24, "num_hidden_layers": 1},
        decoder={"max_position_embeddings": 20},
        generation={"max_length": 12, "min_length": 3, "no_repeat_ngram_size": 3},
    )
    done = bert_export.export(
        model=folder / "checkpoint", task="summarization", output=folder / "fp32", targets=TARGETS
    )
    return done.path


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("task", ["summarization", "text2text-generation"])
def test_answers(plain: Path, halves: Path, task: str, target: str) -> None:
    calls = CALLS if task == "summarization" else CALLS[:4]
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
    calls = [{"inputs": PROMPTS}, {"inputs": "the", "num_beams": 1}]
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
    targets = ("onnxruntime", "openvino")
    task = "text-generation"
    return tiny_export(task, head, targets=targets, precision="fp32", **config).path


@pytest.mark.filterwarnings("ignore:target")
def test_pieces(plain: Path, causal: Path) -> None:
    options: list[dict[str, Any]] = [
        {},
        {"max_new_tokens": 1},
        {"do_sample": True, "seed": 3, "repetition_penalty": 1.2},
        {"no_repeat_ngram_size": 2, "eos_token_id": [3, 50]},
        *({"max_length": length} for length in (9, 2)),
        {"num_beams": 2},
        {"return_full_text": False},
        {"batch_size": 2},
    ]
    texts = ["the cat sat", "a dog isn't on 中文"]
    asked = [(text, own) for text in texts for own in options]
    lines = [f"stream 999 {json.dumps({'inputs': text, **own})}" for text, own in asked]
    _, *found = ask(plain, causal, lines)
    with bert_export.load(causal, threads=1) as pipeline:
        for outcome, (text, own) in zip(found, asked, strict=True):
            wanted = expected(lambda given, **rest: list(pipeline.stream(given, **rest)),
                              {"inputs": text, **own})  # fmt: skip
            if isinstance(wanted, list):
                wanted = [[len(piece.encode()) for piece in wanted], "".join(wanted)]
            assert_equal(outcome, wanted, own)


@pytest.mark.filterwarnings("ignore:target")
def test_a_caller_may_stop(plain: Path, causal: Path) -> None:
    call = json.dumps({"inputs": "the cat sat"})
    _, whole, two, other = ask(
        plain, causal, [f"stream 999 {call}", f"stream 2 {call}", 'stream 9 {"inputs": 3}']
    )
    assert two[1][0] == whole[1][0][:2]
    assert len(whole[1][0]) > 2
    assert other == (2, "text is of the wrong type: expected a string, got int.")


def test_streams_of_other_tasks(plain: Path, halves: Path) -> None:
    _, (status, message) = ask(plain, halves, ['stream 9 {"inputs": "a"}'])
    assert (status, message) == (
        4,
        "streaming does not fit the bundle: expected text-generation, got summarization.",
    )
