"""Every command as a user types it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bert_export import load
from bert_export.cli import main
from bert_export.demonstration_table import find_demonstrations
from bert_export.exporter import Export
from bert_export.tasks import TASKS

pytestmark = pytest.mark.long

LABELS = {"num_labels": 3}


def invoke(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, list(arguments), input=stdin)


@pytest.fixture
def classifier(tiny_export: Callable[..., Export]) -> Path:
    return tiny_export("text-classification", "BertForSequenceClassification", **LABELS).path


def test_export_is_the_default_command(tiny: Callable[..., Path], tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    model = str(tiny("BertForSequenceClassification", **LABELS))
    result = invoke("--model", model, "-o", str(target), "--example", "the cat sat")
    assert result.exit_code == 0, result.output
    for stage in ("load", "trace", "write", "verify"):
        assert stage in result.stderr
    assert "largest difference from PyTorch" in result.stderr
    assert "label agreement 100.00 %" in result.stderr
    assert f"wrote {target}" in result.stdout
    assert "the cat sat" in result.stdout
    assert "LABEL_" in result.stdout


def test_an_example_that_does_not_fit_fails_no_export(
    tiny: Callable[..., Path], tmp_path: Path
) -> None:
    model = str(tiny("BertForMaskedLM"))
    result = invoke("--model", model, "-o", str(tmp_path / "bundle"), "--max-length", "4")
    assert result.exit_code == 0, result.stderr
    assert re.search("no answer: text '.*' is too long", result.stdout)


def test_a_disk_that_is_full_is_one_line(tiny: Callable[..., Path], tmp_path: Path) -> None:
    model = str(tiny("BertForSequenceClassification", **LABELS))
    limited = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); "
        "from bert_export.cli import main; main()"
    )
    arguments = ["--model", model, "-o", str(tmp_path / "bundle"), "--quiet"]
    done = subprocess.run(
        [sys.executable, "-c", limited, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: file")
    assert done.stderr.count("\n") == 1
    assert "cannot be read or written: got File too large" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("request_to_end", [signal.SIGTERM, signal.SIGHUP])
def test_a_request_to_end_leaves_nothing(
    request_to_end: signal.Signals, tiny: Callable[..., Path], tmp_path: Path
) -> None:
    model = str(tiny("BertForSequenceClassification", **LABELS))
    arguments = ["--model", model, "-o", str(tmp_path / "bundle")]
    with subprocess.Popen(
        [sys.executable, "-m", "bert_export.cli", *arguments], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        while not list(tmp_path.iterdir()):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(request_to_end)
        process.stderr.read()
    assert process.returncode == 128 + request_to_end
    assert not list(tmp_path.iterdir())


def test_a_request_that_is_ignored_stays_so() -> None:
    script = (
        "import os, signal\n"
        "from bert_export.cli.console import errors_on_one_line\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "with errors_on_one_line():\n"
        "    os.kill(os.getpid(), signal.SIGHUP)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_names_in_brackets_are_no_markup(tiny_export: Callable[..., Export]) -> None:
    labels = {0: "[/neg]", 1: "[bold]", 2: "c"}
    done = tiny_export("text-classification", "BertForSequenceClassification", id2label=labels)
    result = invoke("inspect", str(done.path))
    assert result.exit_code == 0, result.output
    assert "[/neg]" in result.stdout
    assert "[bold]" in result.stdout


def test_dynamic_int8_takes_no_calibration_method() -> None:
    method = ("--calibration-method", "entropy")
    result = invoke("--task", "fill-mask", "--int8", "--int8-mode", "dynamic", *method)
    assert result.exit_code == 2
    assert "calibration-method entropy has no use for dynamic INT8" in result.stderr


def test_quiet_export_prints_nothing(tiny: Callable[..., Path], tmp_path: Path) -> None:
    model = str(tiny("BertForSequenceClassification", **LABELS))
    result = invoke("--model", model, "-o", str(tmp_path / "bundle"), "--quiet")
    assert result.exit_code == 0
    assert result.output == ""


def test_json_export_is_one_object(tiny: Callable[..., Path], tmp_path: Path) -> None:
    model = str(tiny("BertForSequenceClassification", **LABELS))
    result = invoke("--model", model, "-o", str(tmp_path / "bundle"), "--json", "--fp32")
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert told["task"] == "text-classification"
    assert told["precision"] == "fp32"
    assert told["parity"]["onnxruntime"]["max_abs_difference"] <= 1e-4
    assert {stage["name"] for stage in told["stages"]} >= {"load", "trace", "verify"}
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "translation"], "task 'translation' is unknown"),
        (["--int8", "--precision", "fp32"], "precision is given twice"),
        (["--model", "/no/such/checkpoint"], "/no/such/checkpoint"),
        (["--task", "fill-mask", "--precision", "int3"], "precision 'int3' is unknown"),
        (["run", "/no/such/bundle", "hi"], "/no/such/bundle"),
        (["inspect", "/no/such/bundle"], "/no/such/bundle"),
    ],
)
def test_a_mistake_is_one_line_and_a_status(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke(*arguments)
    assert result.exit_code == (2 if "/no/such" not in " ".join(arguments) else 1)
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_run_answers_texts_and_standard_input(classifier: Path) -> None:
    result = invoke("run", str(classifier), "the cat", "the dog")
    assert result.exit_code == 0, result.output
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(answers) == 2
    again = invoke("run", str(classifier), stdin="the cat\n\nthe dog\n")
    assert again.stdout == result.stdout


def test_run_takes_options_and_json_records(classifier: Path) -> None:
    pair = json.dumps({"text": "the cat", "text_pair": "sat"})
    result = invoke("run", str(classifier), pair, "-p", "top_k=null")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert [set(row) for row in answer] == [{"label", "score"}] * 3


@pytest.fixture
def tagger(tiny_export: Callable[..., Export]) -> Path:
    labels = {0: "O", 1: "B-a", 2: "I-a", 3: "B-b", 4: "I-b"}
    return tiny_export("token-classification", "BertForTokenClassification", id2label=labels).path


def test_run_answers_with_whole_words_and_python_as_transformers(tagger: Path) -> None:
    text = "the cats sat on york mats running"
    entities = json.loads(invoke("run", str(tagger), text).stdout)
    assert entities
    words = text.split()
    assert all(set(entity["word"].split()) <= set(words) for entity in entities)
    with load(tagger) as pipeline:
        assert entities == json.loads(
            json.dumps(pipeline(text, aggregation_strategy="first"), default=float)
        )
        tokens = pipeline(text)
    assert any(token["word"].startswith("##") for token in tokens)
    none = json.loads(invoke("run", str(tagger), text, "-p", "aggregation_strategy=none").stdout)
    assert [token["word"] for token in none] == [token["word"] for token in tokens]


def test_export_and_run_answer_an_example_alike(tiny: Callable[..., Path], tmp_path: Path) -> None:
    model = str(tiny("BertForTokenClassification", id2label={0: "O", 1: "B-a", 2: "I-a"}))
    out = tmp_path / "bundle"
    done = invoke("--model", model, "-o", str(out), "--json", "--example", "the cats sat")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["example"] == {"text": "the cats sat"}
    assert json.loads(invoke("run", str(out), "the cats sat").stdout) == told["answer"]


def test_the_demonstrations_are_listed_with_what_they_know() -> None:
    for arguments in (["tasks"], ["export", "--help"]):
        lines = invoke(*arguments).stdout.splitlines()
        for one in find_demonstrations():
            (line,) = [line for line in lines if line.strip().startswith(f"demo:{one.name} ")]
            assert line.endswith(one.summary)
            assert len(line) <= 80
    rows = json.loads(invoke("tasks", "--json").stdout)
    knows = {row["task"]: row["demonstration"] for row in rows}
    assert knows["token-classification"].startswith("Names: people")
    assert knows["text-generation"].startswith("Novels: a next word")


def test_run_serves_another_task_of_the_same_head(tiny_export: Callable[..., Export]) -> None:
    labels = {0: "contradiction", 1: "neutral", 2: "entailment"}
    bundle = tiny_export("text-classification", "BertForSequenceClassification", id2label=labels)
    result = invoke(
        "run",
        str(bundle.path),
        "the cat",
        "--task",
        "zero-shot-classification",
        "-p",
        'candidate_labels=["dog", "cat"]',
    )
    assert result.exit_code == 0, result.output
    assert set(json.loads(result.stdout)["labels"]) == {"dog", "cat"}
    wrong = invoke("run", str(bundle.path), "the cat", "--task", "fill-mask")
    assert wrong.exit_code == 1
    assert "task fill-mask does not fit the bundle" in wrong.stderr


def test_run_names_missing_fields(tiny_export: Callable[..., Export]) -> None:
    bundle = tiny_export("question-answering", "BertForQuestionAnswering")
    result = invoke("run", str(bundle.path), "who?")
    assert result.exit_code == 1
    assert '{"question": ..., "context": ...}' in result.stderr


@pytest.mark.parametrize("spelling", ["null", "None"])
def test_options_may_be_spelt_as_in_python(classifier: Path, spelling: str) -> None:
    result = invoke("run", str(classifier), "hi", "-p", f"top_k={spelling}")
    assert result.exit_code == 0, result.output
    assert len(json.loads(result.stdout)) == 3


def test_records_behind_a_byte_order_mark_are_records(classifier: Path) -> None:
    line = json.dumps({"text": "the cat"})
    marked = invoke("run", str(classifier), stdin=f"\ufeff{line}\n{line}\n")
    assert marked.exit_code == 0, marked.output
    first, second = marked.stdout.splitlines()
    assert first == second == invoke("run", str(classifier), "the cat").stdout.rstrip("\n")


@pytest.mark.parametrize("value", ["[" * 100_000, "9" * 5_000])
def test_json_that_cannot_be_read_is_a_text(classifier: Path, value: str) -> None:
    result = invoke("run", str(classifier), "hi", "-p", f"top_k={value}")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: top_k is wrong: expected a positive whole number")
    record = invoke("run", str(classifier), f'{{"text": {value}')
    assert record.exit_code == 0, record.output


def test_an_unknown_option_is_named_with_those_that_there_are(classifier: Path) -> None:
    result = invoke("run", str(classifier), "hi", "-p", "topk=1")
    assert result.exit_code == 2
    assert result.stderr.startswith(
        "error: option 'topk' is unknown to the task text-classification: expected one of top_k, "
    )
    assert result.stderr.endswith("Did you mean 'top_k'?\n")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("value", ["x", "1.5", "true", "0", "[1]"])
def test_an_option_of_the_wrong_kind_is_named(classifier: Path, value: str) -> None:
    result = invoke("run", str(classifier), "hi", "-p", f"batch_size={value}")
    assert result.exit_code == 2
    assert "batch_size is wrong: expected a whole number, at least 1, got " in result.stderr


def test_an_option_that_fits_does_not_take_the_blame_for_a_text(classifier: Path) -> None:
    options = ("-p", "top_k=1", "-p", "truncation=false")
    result = invoke("run", str(classifier), "the cat " * 300, *options)
    assert result.exit_code == 1
    assert "is too long" in result.stderr


@pytest.mark.parametrize("option", ["top_k", "=1", "top k=1"])
def test_a_malformed_option_is_named(classifier: Path, option: str) -> None:
    result = invoke("run", str(classifier), "hi", "-p", option)
    assert result.exit_code == 2
    assert "expected NAME=VALUE" in result.stderr


def test_inspect_shows_what_the_manifest_holds(classifier: Path) -> None:
    result = invoke("inspect", str(classifier))
    assert result.exit_code == 0
    for text in ("text-classification", "LABEL_2", "input_ids", "int64", "nearly all padding"):
        assert text in result.stdout
    manifest: dict[str, Any] = json.loads(invoke("inspect", str(classifier), "--json").stdout)
    assert manifest["files"]["onnxruntime.onnx"]["sha256"][:12] in result.stdout


def test_inspect_refuses_a_tampered_bundle(classifier: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in classifier.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    with (copy / "weights.data").open("r+b") as file:
        file.write(b"tampered")
    result = invoke("inspect", str(copy))
    assert result.exit_code == 1
    assert "weights.data has the wrong sha256" in result.stderr


def test_tasks_are_all_listed() -> None:
    result = invoke("tasks")
    assert result.exit_code == 0
    for task in TASKS.values():
        assert task.name in result.stdout
        assert task.head in result.stdout
    assert [row["task"] for row in json.loads(invoke("tasks", "--json").stdout)] == list(TASKS)


@pytest.mark.parametrize(
    ("redirect", "status", "message"),
    [(">/dev/full", 1, "error: file cannot be read or written: got No space left"), (">&-", 0, "")],
)
def test_output_that_cannot_be_written_is_one_line(
    redirect: str, status: int, message: str
) -> None:
    command = f"{sys.executable} -m bert_export.cli tasks --json {redirect}"
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=buffered,
    )
    assert done.returncode == status
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == (1 if message else 0)


def test_output_in_ascii_is_whole_and_json_stays_json(
    classifier: Path, tiny_export: Callable[..., Export]
) -> None:
    def say(*arguments: str) -> str:
        command = [sys.executable, "-m", "bert_export.cli", *arguments]
        surroundings = {**os.environ, "PYTHONIOENCODING": "ascii"}
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=120, check=True, env=surroundings
        )
        return done.stdout

    reader = tiny_export("question-answering", "BertForQuestionAnswering").path
    record = json.dumps({"question": "who", "context": "\u00e9"})
    assert json.loads(say("run", str(reader), record))["answer"] == "\u00e9"
    assert "fuse_attention" in say("explain", str(classifier))


def test_help_and_version_import_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from bert_export.cli import main\n"
        "for words in (['--help'], ['export', '--help'], ['--version'], ['tasks']):\n"
        "    assert CliRunner().invoke(main, words).exit_code == 0, words\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'transformers', 'onnx_ir'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
