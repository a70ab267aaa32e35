"""What Tab offers, asked as a shell asks it: by click's protocol of variables."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from click.shell_completion import CompletionItem, ShellComplete, get_completion_class

from bert_export.cli import main
from bert_export.demonstration_table import demonstration_names
from bert_export.exporter import Export
from bert_export.target_table import TARGETS
from bert_export.tasks import TASKS


def offered(*typed: str) -> list[CompletionItem]:
    """What is offered for the last of the words."""
    *before, last = typed
    complete = ShellComplete(main, {}, "bert-export", "_BERT_EXPORT_COMPLETE")
    return complete.get_completions(before, last)


def names(*typed: str) -> list[str]:
    return [item.value for item in offered(*typed)]


def test_commands() -> None:
    assert names("b") == ["build", "bench"]
    assert "check-gpu" in names("")


def test_options_of_the_short_form() -> None:
    assert names("--ta") == ["--task", "--target"]
    assert names("--task", "ner", "--pre") == ["--precision"]
    assert names("--int") == ["--int8", "--int8-mode"]
    assert names("--vers") == ["--version"]
    assert names("tasks", "--") == ["--json", "--help"]


@pytest.mark.parametrize("command", [(), ("export",)])
def test_values_with_and_without_the_commands_name(command: tuple[str, ...]) -> None:
    assert names(*command, "--task", "") == list(TASKS)
    assert names(*command, "--task", "t") == [
        *("text-classification", "token-classification", "text-generation"),
        "text2text-generation",
    ]
    assert names(*command, "--task", "token-classification", "--target", "") == [*TARGETS, "auto"]
    assert names(*command, "--task=fill") == ["fill-mask"]
    assert names(*command, "--int8", "--calibration-method", "m") == [
        *("min-max", "moving-average", "mse")
    ]
    assert names(*command, "--precision", "b") == ["bf16"]
    assert names(*command, "--model", "demo:s") == ["demo:snips", "demo:spans", "demo:stsb"]


def test_an_alias_is_offered_where_no_task_begins_so() -> None:
    items = offered("--task", "senti")
    assert [item.value for item in items] == ["sentiment", "sentiment-analysis"]
    assert {item.help for item in items} == {"text-classification"}


def test_every_task_says_what_it_is() -> None:
    assert [item.help for item in offered("--task", "")] == [t.summary for t in TASKS.values()]


def test_lists_are_completed_behind_their_last_comma() -> None:
    assert names("report", "--targets", "openvino,onnxruntime-c") == ["openvino,onnxruntime-cuda"]
    assert names("report", "--precisions", "fp32,f") == ["fp32,fp32", "fp32,fp16"]


def test_demonstrations_and_folders() -> None:
    kinds = [(item.value, item.type) for item in offered("--model", "")]
    assert kinds[0] == ("demo", "plain")
    assert kinds[-1] == ("", "dir")
    assert len(kinds) == 2 + len(demonstration_names())
    assert [item.type for item in offered("--model", "./m")] == ["dir"]
    assert [item.type for item in offered("--eval", "x")] == ["file"]


def test_options_of_a_call(tiny_export: Callable[..., Export]) -> None:
    bundle = str(tiny_export("token-classification", "BertForTokenClassification").path)
    assert names("run", bundle, "-p", "agg") == ["aggregation_strategy="]
    assert names("run", bundle, "-p", "aggregation_strategy=s") == ["aggregation_strategy=simple"]
    assert names("run", "no-bundle", "-p", "") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(shell: str) -> None:
    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(main, {}, "bert-export", "_BERT_EXPORT_COMPLETE").source()
    assert "_BERT_EXPORT_COMPLETE" in script


@pytest.mark.parametrize(
    ("shell", "variables", "said"),
    [
        ("bash", {"COMP_WORDS": "bert-export --task tok", "COMP_CWORD": "2"}, "plain,token-cl"),
        ("zsh", {"COMP_WORDS": "bert-export --task tok", "COMP_CWORD": "2"}, "plain\ntoken-cl"),
        (
            "fish",
            {"COMP_WORDS": "bert-export --task tok", "COMP_CWORD": "tok"},
            "plain,token-classification\ta tag per",
        ),
    ],
)
def test_the_command_answers_each_shell(shell: str, variables: dict[str, str], said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from bert_export.cli import main; main(prog_name='bert-export')"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **variables, "_BERT_EXPORT_COMPLETE": f"{shell}_complete"},
    )
    assert said in done.stdout, done.stderr
