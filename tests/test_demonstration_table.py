"""What the demonstrations know, and the examples that show it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bert_export import load
from bert_export.bundle import QuantizationOptions
from bert_export.checkpoints.demo import CARD, DEMONSTRATIONS
from bert_export.demonstration_table import Example, find_demonstrations, find_example
from bert_export.exporter import export
from bert_export.tasks import TASKS
from tests.support import open_tiny

EXAMPLES = [
    (one.name, task, example)
    for one in find_demonstrations()
    for task, example in one.examples.items()
]
UNTUNED = QuantizationOptions(gptq=False, smoothquant=False, channel_splitting=False)
"""The quickest INT8, and the least exact."""


def check(answer: Any, shows: Any) -> None:
    """An answer holds what its example shows."""
    if isinstance(shows, list):
        assert len(answer) >= len(shows)
        for part, shown in zip(answer, shows, strict=False):
            check(part, shown)
    elif isinstance(shows, dict):
        assert shows
        for name, value in shows.items():
            check(answer[name], value)
    else:
        assert answer == shows


def test_every_demonstration_says_in_a_line_what_it_knows() -> None:
    demonstrations = find_demonstrations()
    adapters = {path.parent.name for path in DEMONSTRATIONS.glob(f"*/{CARD}")}
    assert [one.name for one in demonstrations] == ["minilm", *sorted(adapters)]
    for one in demonstrations:
        assert 30 < len(one.summary) <= 62, one.name
        assert one.summary.endswith(".")
        assert "\n" not in one.summary


def test_every_task_shows_its_demonstration_by_an_example() -> None:
    for task in TASKS.values():
        if task.demo not in (None, "minilm"):
            assert find_example(f"demo:{task.demo}", task.name) is not None, task.name


@pytest.mark.parametrize("model", ["demo:minilm", "demo:none", "demo", "snips", "./demo:snips"])
def test_other_checkpoints_have_no_example(model: str) -> None:
    assert find_example(model, "text-classification") is None


@pytest.mark.usefixtures("minilm")
@pytest.mark.parametrize(
    ("name", "task", "example"), EXAMPLES, ids=[f"{name}-{task}" for name, task, _ in EXAMPLES]
)
def test_an_example_shows_it(name: str, task: str, example: Example) -> None:
    options = dict(TASKS[task].command_options) | example.options
    with open_tiny(task, Path(f"demo:{name}")) as pipeline:
        check(pipeline.ask(example.record, **options), example.shows)


@pytest.mark.long
@pytest.mark.usefixtures("minilm")
def test_the_first_example_is_right_in_int8(tmp_path: Path) -> None:
    """What the first command of the README ends with."""
    example = find_example("demo:wnut17", "token-classification")
    assert example is not None
    done = export(
        task="token-classification",
        precision="int8",
        quantization=UNTUNED,
        output=tmp_path / "bundle",
    )
    with load(done.path) as pipeline:
        answer = pipeline.ask(example.record, **TASKS["token-classification"].command_options)
    assert isinstance(example.shows, list)
    assert len(answer) == len(example.shows)
    check(answer, example.shows)
