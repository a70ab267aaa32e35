"""Columns and labels by other names, in every command that reads records."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from bert_export.bundle import read_manifest
from bert_export.cli import main
from bert_export.cli.data_options import DataOptions, data_options, read_data_options
from bert_export.cli.run import _records as records
from bert_export.cli.run import _without as without
from bert_export.errors import DatasetError, InputError
from bert_export.exporter import Export
from bert_export.tasks import find_task

LABELS = {"id2label": {0: "no", 1: "yes"}}


def invoke(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, list(arguments), input=stdin)


@pytest.fixture
def bundle(tiny_export: Callable[..., Export]) -> str:
    done = tiny_export("text-classification", "BertForSequenceClassification", **LABELS)
    return str(done.path)


@pytest.fixture
def table(tmp_path: Path) -> str:
    path = tmp_path / "a.tsv"
    path.write_text("id\tsentence\tgold\n1\tthe cat\tpos\n2\ta dog\tNO\n", encoding="utf-8")
    return str(path)


def test_evaluate_takes_names_of_columns_and_labels(bundle: str, table: str) -> None:
    columns = ("--field", "text=sentence", "--field", "label=gold")
    refused = invoke("evaluate", bundle, table, *columns)
    assert refused.exit_code == 1
    assert "row 1 field label is no label of the bundle: expected no, yes, or" in refused.stderr
    assert "the labels of the data are pos, NO." in refused.stderr
    done = invoke("evaluate", bundle, table, *columns, "--label-map", "pos=yes")
    assert done.exit_code == 0, done.output
    assert "note: labels matched in another letter case: 'NO' as 'no'" in done.stderr
    assert "2 examples" in done.stdout
    quiet = invoke("evaluate", bundle, table, *columns, "--label-map", "pos=yes", "--quiet")
    assert quiet.stderr == ""
    told = invoke("evaluate", bundle, table, *columns, "--label-map", "pos=1", "--json")
    assert json.loads(told.stdout)["notes"] == [
        "labels matched in another letter case: 'NO' as 'no'"
    ]


def test_evaluate_says_which_columns_there_are(bundle: str, table: str) -> None:
    done = invoke("evaluate", bundle, table)
    assert done.exit_code == 1
    assert "expected text, got id, sentence, gold." in done.stderr
    assert "--field text=sentence." in done.stderr
    unlabelled = invoke("evaluate", bundle, table, "--field", "text=sentence")
    assert "expected the field label in every record, got id, sentence, gold." in unlabelled.stderr


def test_a_label_map_may_be_a_file(bundle: str, table: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text('{"pos": "yes", "NO": "no"}')
    columns = ("--field", "text=sentence", "--field", "label=gold")
    done = invoke("evaluate", bundle, table, *columns, "--label-map", str(path))
    assert done.exit_code == 0, done.output
    assert "note" not in done.stderr


def test_run_reads_what_evaluate_reads(bundle: str, table: str) -> None:
    line = json.dumps({"id": 17, "text": "the cat", "label": "yes", "source": {"page": 1}})
    done = invoke("run", bundle, stdin=line + "\n")
    assert done.exit_code == 0, done.output
    of_table = invoke("run", bundle, "--data", table, "--field", "text=sentence")
    assert of_table.exit_code == 0, of_table.output
    assert of_table.stdout.splitlines()[0] == done.stdout.strip()
    assert len(of_table.stdout.splitlines()) == 2
    renamed = invoke("run", bundle, '{"sentence": "the cat"}', "--field", "text=sentence")
    assert renamed.stdout == done.stdout
    lacking = invoke("run", bundle, '{"sentence": "the cat"}')
    assert lacking.exit_code == 1
    assert "got sentence. Name the column that holds it: --field text=sentence" in lacking.stderr
    both = invoke("run", bundle, "the cat", "--data", table)
    assert "inputs are given twice" in both.stderr


def test_fields_of_the_call_need_not_be_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text\nthe cat sat\n")
    task = find_task("zero-shot-classification")
    given = without(task, {"candidate_labels": "a,b", "multi_label": True})
    assert list(records(given, (), str(path), {})) == [{"text": "the cat sat"}]
    assert list(records(given, ("the cat sat",), None, {})) == [{"text": "the cat sat"}]
    with pytest.raises(DatasetError, match="expected candidate_labels, got text"):
        list(records(task, (), str(path), {}))


def test_export_calibrates_on_columns_by_other_names(
    tiny: Callable[..., Path], tmp_path: Path
) -> None:
    model = str(tiny("BertForSequenceClassification", **LABELS))
    path = tmp_path / "a.tsv"
    words = ["cat", "dog", "mat", "run", "the", "sat", "on", "a"]
    texts = [f"{first} {second}" for first in words for second in words]
    path.write_text("sentence\tgold\n" + "".join(f"{text}\tpos\n" for text in texts))
    output = tmp_path / "bundle"
    arguments = ["--model", model, "--int8", "--calibration", str(path), "-o", str(output)]
    refused = invoke(*arguments)
    assert "got sentence, gold. Name the column that holds it: --field text=sen" in refused.stderr
    # A label's column is no matter of the calibration.
    done = invoke(*arguments, "--field", "text=sentence", "--field", "label=gold", "--quiet")
    assert done.exit_code == 0, done.output
    request = read_manifest(output).request
    assert request is not None
    assert request.fields == {"text": "sentence", "label": "gold"}


def test_labels_of_a_budget_are_checked_before_the_trace(
    tiny: Callable[..., Path], table: str, tmp_path: Path
) -> None:
    model = str(tiny("BertForSequenceClassification", **LABELS))
    budget = ["--max-drop", "1%", "--eval", table, "--field", "text=sentence"]
    arguments = ["--model", model, "--int8", "-o", str(tmp_path / "bundle"), *budget]
    refused = invoke(*arguments, "--field", "label=gold")
    assert refused.exit_code == 1
    assert "row 1 field label is no label of the bundle" in refused.stderr
    assert "trace" not in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--field", "text=sentence"], "field has no use without data of your own"),
        (["--label-map", "a=b"], "label map has no use without labelled data"),
        (["--field", "text"], "field 'text' is malformed: expected FIELD=COLUMN"),
        (["--field", "text=a", "--field", "text=b"], "field text is given twice"),
        (["--label-map", "=b"], "label map =b is malformed"),
        (["--label-map", "/no/such/file"], "/no/such/file cannot be read"),
    ],
)
def test_options_that_say_nothing_are_refused(arguments: list[str], message: str) -> None:
    done = invoke("--task", "text-classification", "--int8", *arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())


def test_the_options_reach_a_command_as_one_value() -> None:
    seen: list[DataOptions] = []

    @click.command()
    @data_options(labels=False)
    def command(*, data_options: DataOptions) -> None:
        seen.append(data_options)

    assert CliRunner().invoke(command, ["--field", "a=b=c"]).exit_code == 0
    assert seen == [DataOptions(columns={"a": "b=c"}, label_map={})]
    assert CliRunner().invoke(command, ["--label-map", "a=b"]).exit_code == 2
    with pytest.raises(InputError, match="malformed"):
        read_data_options(["=b"], [])
