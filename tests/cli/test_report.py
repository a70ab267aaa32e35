"""``bert-export report`` as a user types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bert_export.bundle import CheckpointOptions, read_manifest
from bert_export.cli import main
from bert_export.cli.report import parse_seconds
from bert_export.errors import InputError


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["report", *arguments])


def test_report_prints_a_markdown_table(tiny: Callable[..., Path], tmp_path: Path) -> None:
    folder = tmp_path / "out"
    texts = tmp_path / "texts.txt"
    texts.write_text("the cat sat\nthe dog ran\n", encoding="utf-8")
    options = ["--task", "feature-extraction", "--model", str(tiny("BertModel"))]
    options += ["--data", str(texts), "--targets", "onnxruntime", "--precisions", "fp32"]
    options += ["--shapes", "1x8", "--texts", "0", "--seconds", "0.1", "--cold-starts", "0"]
    options += ["--gelu", "tanh"]
    result = invoke(*options, "-o", str(folder))
    assert result.exit_code == 0, result.output
    (bundle,) = {path.parent for path in folder.glob("**/manifest.json")}
    request = read_manifest(bundle).request
    assert request is not None
    assert request.checkpoint == CheckpointOptions(gelu="tanh")
    lines = result.stdout.splitlines()
    assert lines[0].startswith("| variant | agreement with onnxruntime fp32")
    assert lines[2].startswith("| **onnxruntime fp32** |")
    assert "report.html" in result.stderr
    told = json.loads(invoke(*options, "-o", str(folder), "--json").stdout)
    assert told == json.loads((folder / "report.json").read_bytes())
    assert told["complete"]
    assert told["max_drop"] == 0.01
    for typed, meant in (("1.5%", 0.015), ("0.02", 0.02)):
        more = ["-o", str(folder), "--max-drop", typed, "--json"]
        assert json.loads(invoke(*options, *more).stdout)["max_drop"] == meant
    asked = invoke(*options, "-o", str(folder), "--p95-below", "1us", "--drop-below", "1%")
    assert asked.exit_code == 1
    assert "has a p95 below 0.001" in asked.stderr
    fitting = invoke(*options, "-o", str(folder), "--p95-below", "50s")
    assert fitting.exit_code == 0, fitting.output
    assert "p95 is of" in fitting.stderr
    quiet = invoke(*options, "-o", str(folder), "--quiet")
    assert (quiet.exit_code, quiet.output) == (0, "")


def test_names_of_labels_without_use_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("no\nyes\n", encoding="utf-8")
    texts = tmp_path / "texts.txt"
    texts.write_text("the cat sat\n", encoding="utf-8")
    options = ["--task", "feature-extraction", "--model", str(tmp_path / "none")]
    refused = invoke(*options, "--data", str(texts), "--labels", str(names), "-o", str(tmp_path))
    assert refused.exit_code != 0
    assert "labels have no use for task feature-extraction" in refused.stderr


@pytest.mark.parametrize(
    ("text", "seconds"), [("20ms", 0.02), ("0.02s", 0.02), (" 20 ms ", 0.02), (".5ms", 0.0005)]
)
def test_times_have_a_unit(text: str, seconds: float) -> None:
    assert parse_seconds(text) == pytest.approx(seconds)
    for wrong in ("20", "ms", "20m", "-1ms", "1e3ms", "inf s", "1,5ms"):
        with pytest.raises(
            InputError, match=r"is malformed: expected a time such as 20ms or 0.02s"
        ):
            parse_seconds(wrong)


def test_no_variant_at_all_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    options = ["--task", "text-classification", "--model", str(tmp_path / "model")]
    options += ["--targets", "onnxruntime", "--precisions", "fp32", "--texts", "0"]
    result = invoke(*options, "-o", str(tmp_path / "out"))
    assert result.exit_code == 1
    assert result.stderr.startswith("error: no variant can be exported, scored and timed")
    assert len(result.stderr.strip().splitlines()) == 1
    assert "config.json" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "none"], "task 'none' is unknown"),
        (["--task", "text-classification", "--shapes", "8by16"], "shape '8by16' is malformed"),
        (["--task", "text-classification", "--targets", "abacus"], "target 'abacus' is unknown"),
        (["--task", "text-classification", "--max-drop", "a lot"], "max-drop is malformed"),
        (["--task", "text-classification", "--max-drop", "nan"], "max-drop is out of bounds"),
        (["--task", "text-classification", "--seconds", "nan"], "seconds are out of bounds"),
        (["--task", "text-classification", "--tolerance", "nan"], "tolerance is out of bounds"),
    ],
)
def test_a_bad_option_is_one_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    result = invoke(*arguments, "-o", str(tmp_path / "out"))
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
