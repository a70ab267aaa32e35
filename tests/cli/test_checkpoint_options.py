"""Files of label names, and the options that say what a checkpoint does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bert_export.bundle import CheckpointOptions, ExportRequest
from bert_export.cli.checkpoint_options import TypedCheckpointOptions, read_label_names
from bert_export.cli.export import export_command
from bert_export.errors import InputError
from bert_export.exporter import check_request


@pytest.mark.parametrize(
    "text",
    [
        "no\nyes\n",
        "\ufeffno\r\n yes \n\n",
        '["no", "yes"]',
        ' {"1": "yes", "0": "no"}',
        '{"id2label": {"0": "no", "1": "yes"}, "hidden_size": 16}',
    ],
)
def test_names_in_every_form(text: str, tmp_path: Path) -> None:
    path = tmp_path / "labels"
    path.write_text(text, encoding="utf-8", newline="")
    assert read_label_names(path) == ("no", "yes")


def test_a_name_may_begin_with_a_bracket(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("[CLS]\nO\nB-PER\n")
    assert read_label_names(path) == ("[CLS]", "O", "B-PER")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "got an empty file"),
        (b"a\n\nb\n", "nothing on line 2"),
        (b"\xff\xfe", "expected UTF-8 text"),
        (b'{"no": 0, "yes": 1}', "an object of id: name"),
        (b'{"1": "a"}', "an object of id: name"),
        (b'[["a"]]', "a list of names"),
        (b'["a", ""]', "has no name for a label"),
    ],
)
def test_other_files_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "labels"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_label_names(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"cannot be read: expected names of labels.*got No such file"
    ):
        read_label_names(tmp_path / "none")


def test_nothing_typed_is_nothing_said() -> None:
    assert TypedCheckpointOptions(labels=None, cased=None, gelu=None).read() is None
    typed = TypedCheckpointOptions(labels=None, cased=True, gelu="tanh")
    assert typed.read() == CheckpointOptions(lower_case=False, gelu="tanh")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": ("a", "a")}, "names that differ"),
        ({"labels": ("a", "")}, "names that differ and are not empty"),
        ({"gelu": "exact"}, "expected erf or tanh"),
    ],
)
def test_malformed_options_are_refused(options: dict[str, Any], message: str) -> None:
    request = ExportRequest(
        task="text-classification", model="x", checkpoint=CheckpointOptions(**options)
    )
    with pytest.raises(InputError, match=message):
        check_request(request)


def test_labels_without_use_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(["a", "b"]))
    typed = ["--task", "fill-mask", "--model", str(tmp_path / "none"), "--labels", str(path)]
    result = CliRunner().invoke(export_command, typed)
    assert result.exit_code != 0
    assert "labels have no use for task fill-mask" in result.output
