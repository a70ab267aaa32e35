"""What is typed wrong: one line with what was meant, exit code 2, before anything is imported."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from bert_export.bundle import INT8_MODES, OBSERVER_NAMES
from bert_export.cli import main
from bert_export.demonstration_table import demonstration_names
from bert_export.exporter import Export
from bert_export.quantization.calibration.observers import OBSERVERS
from bert_export.target_table import PRECISIONS, TARGETS
from bert_export.tasks import ALIASES, TASKS

HEAVY = ("numpy", "onnx", "onnx_ir", "onnxruntime", "tokenizers", "torch")


def invoke(*arguments: str, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(main, list(arguments), input=stdin)


def refused(*arguments: str) -> str:
    """The one line that is said of what is misused."""
    result = invoke(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["exprot"], "export"),
        (["check_gpu"], "check-gpu"),
        (["--tsak", "fill-mask"], "--task"),
        (["--verison"], "--version"),
        (["tasks", "--jsno"], "--json"),
        (["run", "bundle", "--optoin", "a=1"], "--option"),
        (["--task", "token-clasification"], "token-classification"),
        (["--task", "sentiment-anaylsis"], "sentiment-analysis"),
        (["--task", "fill-mask", "--target", "openvno"], "openvino"),
        (["--task", "fill-mask", "--target", "onnxruntime", "--target", "aut"], "auto"),
        (["build", "bundle", "--target", "tensor-rt"], "tensorrt"),
        (["--task", "fill-mask", "--precision", "in8"], "int8"),
        (["--model", "demo:snip"], "snips"),
        (["--task", "fill-mask", "--int8", "--calibration-method", "minmax"], "min-max"),
        (["--task", "fill-mask", "--int8", "--int8-mode", "dynamc"], "dynamic"),
        (["--task", "fill-mask", "--int8", "--cpu", "arm"], "arm64"),
        (["report", "--task", "fil-mask", "-o", "x"], "fill-mask"),
        (
            ["report", "--task", "fill-mask", "-o", "x", "--targets", "openvino,onxruntime"],
            "onnxruntime",
        ),
        (["report", "--task", "fill-mask", "-o", "x", "--precisions", "fp32,f16"], "fp16"),
        (["evaluate", "bundle", "file", "--task", "next_sentense"], "next-sentence"),
        (["check-gpu", "--task", "fillmask"], "fill-mask"),
    ],
)
def test_a_near_miss_is_named(arguments: list[str], meant: str) -> None:
    assert f"Did you mean '{meant}'?" in refused(*arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["./model"], "command './model' is unknown: expected one of export, build, run"),
        (["--nothing-like-it"], "option --nothing-like-it is unknown to main export. Run: "),
        (["run"], "missing argument 'BUNDLE'. Run: main run --help."),
        (["report", "-o", "x"], "missing option '--task'"),
        (["--task", "fill-mask", "--opset", "19"], "19 is not in the range 20<=x<=23"),
        (["--task", "fill-mask", "--threads", "0"], "0 is not in the range x>=1"),
        (["--task", "fill-mask", "extra"], "unexpected extra argument"),
        (["run", "bundle", "-p", "top_k"], "option 'top_k' is malformed: expected NAME=VALUE"),
        (["explain", "bundle", "--shape", "8y128"], "shape '8y128' is malformed"),
        (["bench", "bundle", "--shapes", "8x"], "8x"),
        (
            ["report", "--task", "fill-mask", "-o", "x", "--max-drop", "much"],
            "max-drop is malformed",
        ),
        # What does not belong together.
        (["--int8", "--fp32"], "options --int8 and --fp32 exclude each other"),
        (["--int8", "--precision", "fp32"], "precision is given twice"),
        (["--task", "ner", "--max-drop", "1%"], "accuracy budget has no use in fp32"),
        (["--task", "ner", "--calibration", "x"], "calibration x has no use in fp32"),
        (["--task", "ner", "--fp16"], "target onnxruntime has no precision fp16"),
        ([], ""),
    ],
)
def test_what_cannot_be_right_has_one_exit_code(arguments: list[str], words: str) -> None:
    if not arguments:  # the help, as for every group of commands
        assert invoke().exit_code == 2
        return
    assert words in refused(*arguments)


def test_the_same_flag_twice_says_nothing_new() -> None:
    assert "no precision bf16" in refused("--task", "ner", "--bf16", "--bf16")


def test_what_is_typed_may_be_of_any_length() -> None:
    for arguments in (["--task", "x" * 20_000], ["y" * 20_000], ["run", "b", "-p", "z" * 20_000]):
        assert len(refused(*arguments)) < 2_000


@given(st.text(max_size=40))
def test_no_task_of_any_name_is_a_traceback(name: str) -> None:
    result = invoke("report", f"--task={name}", "--shapes", "?", "-o", "x")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1


def test_the_help_names_the_exit_codes() -> None:
    text = invoke("--help").stdout
    for code in ("0    done", "1    failed", "2    misused", "130  interrupted"):
        assert code in text


@pytest.mark.parametrize(
    "arguments",
    [
        ["--task", "nerr"],
        ["--task", "ner", "--target", "x"],
        ["--model", "demo:x"],
        ["tsks"],
        ["-x"],
    ],
)
def test_a_slip_is_answered_before_anything_is_imported(arguments: list[str]) -> None:
    script = (
        "import sys\n"
        "from bert_export.cli import main\n"
        "try:\n"
        "    main(sys.argv[1:])\n"
        "finally:\n"
        f"    print(sorted(set({HEAVY!r}) & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "[]\n"), done.stderr


def test_options_that_do_not_fit_each_other_are_refused_before_the_exporter_is_imported() -> None:
    script = (
        "import sys\n"
        "from bert_export.cli import main\n"
        "try:\n"
        "    main(['--task', 'ner', '--calibration', 'x'])\n"
        "finally:\n"
        "    print(sorted({'torch', 'onnx', 'onnx_ir', 'onnxruntime'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "[]\n"), done.stderr


def test_ctrl_c_leaves_with_130(tiny_export: Callable[..., Export]) -> None:
    bundle = tiny_export("text-classification", "BertForSequenceClassification", num_labels=3).path
    command = [sys.executable, "-m", "bert_export", "run", str(bundle)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write("the cat\n")
        process.stdin.flush()
        process.stdout.readline()  # it waits for the next line now
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert (process.returncode, said) == (130, "interrupted\n")


def test_of_an_option_that_is_typed_twice_the_last_counts() -> None:
    said = refused("--task", "ner", "--precision", "int8", "--precision", "fp16")
    assert "target onnxruntime has no precision fp16" in said


def test_the_package_is_a_command() -> None:
    for module in ("bert_export", "bert_export.cli"):
        done = subprocess.run(
            [sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=True
        )
        assert done.stdout.startswith("bert-export, version ")


def test_names_that_are_checked_early_are_those_that_there_are() -> None:
    assert tuple(OBSERVERS) == OBSERVER_NAMES
    modes = {mode for target in TARGETS.values() for mode in target.int8_modes}
    assert modes == set(INT8_MODES)


class TestStreams:
    @pytest.fixture
    def bundle(self, tiny_export: Callable[..., Export]) -> str:
        return str(
            tiny_export("text-classification", "BertForSequenceClassification", num_labels=3).path
        )

    @staticmethod
    def shell(command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/bash", "-c", f"set -o pipefail; {command}"],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env={**os.environ, **variables},
        )

    def test_closed_input_is_said(self, bundle: str) -> None:
        done = self.shell(f"{sys.executable} -m bert_export run {bundle} <&-")
        assert done.returncode == 2
        assert done.stderr.startswith("error: standard input is closed: expected texts as arg")
        assert done.stderr.count("\n") == 1

    def test_closed_input_is_not_needed_where_texts_are_arguments(self, bundle: str) -> None:
        done = self.shell(f"{sys.executable} -m bert_export run {bundle} 'the cat' <&-")
        assert (done.returncode, done.stderr) == (0, "")

    def test_input_of_another_encoding_is_said_with_its_line(self, bundle: str) -> None:
        result = invoke(
            "run", bundle, stdin="the cat\ncaf\N{LATIN SMALL LETTER E WITH ACUTE}".encode("latin-1")
        )
        assert result.exit_code == 1
        assert result.stdout.count("\n") == 1  # the first line was answered
        assert (
            "line 2 of standard input is not UTF-8: expected UTF-8, got byte 0xe9 at 3."
            in result.stderr
        )
        assert result.stderr.count("\n") == 1

    def test_input_is_utf8_whatever_the_surroundings_say(self, bundle: str) -> None:
        text = '{"text": "caf\\u00e9"}'
        expected = invoke("run", bundle, text).stdout
        done = self.shell(
            f"printf 'caf\\303\\251\\n' | {sys.executable} -m bert_export run {bundle}",
            PYTHONIOENCODING="latin-1",
        )
        assert json.loads(done.stdout) == json.loads(expected)

    def test_an_argument_that_is_not_utf8_is_no_traceback(self, bundle: str) -> None:
        done = self.shell(f"{sys.executable} -m bert_export run {bundle} $'caf\\xe9'")
        assert done.returncode == 1
        assert "is not valid Unicode" in done.stderr
        assert done.stderr.count("\n") == 1

    @pytest.mark.parametrize("arguments", ["--help", "tasks", "inspect {bundle}"])
    def test_a_reader_that_has_enough_hears_nothing(self, arguments: str, bundle: str) -> None:
        command = arguments.format(bundle=bundle)
        done = self.shell(f"{sys.executable} -m bert_export {command} | true")
        assert done.stderr == ""

    def test_answers_to_a_reader_that_has_enough_end(self, bundle: str) -> None:
        texts = "yes 'the cat sat' | head -5000"
        done = self.shell(f"{texts} | {sys.executable} -m bert_export run {bundle} | head -1")
        assert done.stderr == ""
        assert done.stdout.count("\n") == 1


class TestAliases:
    @pytest.mark.parametrize(
        ("alias", "task"),
        [
            ("ner", "token-classification"),
            ("sentiment-analysis", "text-classification"),
            ("embeddings", "sentence-embedding"),
            ("qa", "question-answering"),
            ("mlm", "fill-mask"),
            ("nsp", "next-sentence-prediction"),
            ("Fill_Mask", "fill-mask"),
        ],
    )
    def test_the_command_takes_them(self, alias: str, task: str) -> None:
        said = refused("report", "--task", alias, "--shapes", "?", "-o", "x")
        assert "shape" in said  # the task was taken
        assert re.search(rf"Invalid|{task}|shape", said)

    def test_none_hides_a_task_or_another(self) -> None:
        assert not set(ALIASES) & set(TASKS)
        names = [name for task in TASKS.values() for name in task.aliases]
        names += [variant.name for task in TASKS.values() for variant in task.variants]
        assert sorted(ALIASES) == sorted(names)
        for task in TASKS.values():
            assert list(task.aliases) == sorted(task.aliases)


def test_every_table_offers_what_it_checks() -> None:
    assert set(demonstration_names()) >= {task.demo for task in TASKS.values() if task.demo}
    assert set(PRECISIONS) == {name for target in TARGETS.values() for name in target.precisions}
