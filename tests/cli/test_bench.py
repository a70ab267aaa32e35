"""``bert-export bench`` as a user types it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bert_export.cli import main
from bert_export.exporter import Export

BRIEF = (
    *("--shapes", "1x8", "--seconds", "0.1", "--texts", "4"),
    *("--cold-starts", "1", "--lifetimes", "1"),
)


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["bench", *arguments])


@pytest.fixture
def classifier(tiny_export: Callable[..., Export]) -> str:
    done = tiny_export("text-classification", "BertForSequenceClassification", num_labels=3)
    return str(done.path)


def test_bench_prints_rows_and_starts(classifier: str) -> None:
    result = invoke(classifier, "--threads", "1", *BRIEF)
    assert result.exit_code == 0, result.output
    for words in ("1x8", "one text, tokenized and decoded", "4 texts in one call", "interval"):
        assert words in result.stdout
    assert "first answer" in result.stdout
    assert "text-classification on" in result.stdout


def test_bench_as_json(classifier: str) -> None:
    told = json.loads(invoke(classifier, *BRIEF, "--json").stdout)
    (entry,) = told["entries"]
    assert (entry["target"], entry["precision"]) == ("onnxruntime", "fp32")
    timing = entry["measured"]["timings"]["1x8"]
    calls = [call for lifetime in timing["lifetimes"] for turn in lifetime for call in turn]
    assert timing["summary"]["calls"] == len(calls)
    assert min(calls) <= timing["summary"]["p50"] <= max(calls)
    assert told["conditions"]["shapes"] == ["1x8"]
    assert told["machine"]["cpu"]
    assert told["machine"]["processor"]
    assert told["versions"]["onnxruntime"]
    assert entry["bytes"] == sum(
        file.stat().st_size for file in Path(classifier).iterdir() if file.name != "manifest.json"
    )


def test_others_are_compared_with_the_baseline(classifier: str, tmp_path: Path) -> None:
    for name in ("one copy", "other copy"):
        shutil.copytree(classifier, tmp_path / name)
    bundles = [str(tmp_path / "one copy"), str(tmp_path / "other copy")]
    result = invoke(*bundles, *BRIEF, "--texts", "0", "--baseline", "other copy", "--json")
    told = json.loads(result.stdout)
    assert [entry["name"] for entry in told["entries"]] == ["other copy", "one copy"]
    first, second = (entry["measured"]["speed_ups"] for entry in told["entries"])
    assert first == {}
    assert second["1x8"]["value"] > 0
    assert second["1x8"]["lifetimes"] == 1
    printed = invoke(*bundles, *BRIEF, "--texts", "0").stdout
    assert "times as fast as one copy" in " ".join(printed.split())


def test_quiet_prints_nothing(classifier: str) -> None:
    result = invoke(classifier, *BRIEF, "--texts", "0", "--quiet")
    assert (result.exit_code, result.output) == (0, "")


def test_reasons_are_printed(classifier: str) -> None:
    result = invoke(classifier, *BRIEF, "--texts", "0", "--shapes", "1x8,1x4000")
    assert result.exit_code == 0, result.output
    assert "1x4000: shape 1x4000 is longer than the bundle's rows" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shapes", "8by16"], "shape '8by16' is malformed"),
        (["--seconds", "nan"], "seconds are out of bounds"),
        (["--tolerance", "inf"], "tolerance is out of bounds"),
        (["--threads", "4096"], "threads do not fit this machine"),
        (["--target", "none"], "target 'none' is unknown"),
        (["--baseline", "none"], "baseline 'none' is none of the contenders"),
        (["--data", "none.jsonl"], "none.jsonl"),
    ],
)
def test_a_bad_option_is_one_line(arguments: list[str], message: str, classifier: str) -> None:
    result = invoke(classifier, *arguments)
    # Of what the bundles and the file hold nothing is known while options are read.
    assert result.exit_code == (1 if arguments[0] in {"--baseline", "--data"} else 2)
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_bundles_must_be_of_one_task(classifier: str, tiny_export: Callable[..., Export]) -> None:
    other = str(tiny_export("feature-extraction", "BertModel").path)
    result = invoke(classifier, other)
    assert result.exit_code == 1
    assert "expected bundles of one task" in result.stderr


def test_a_bundle_given_twice_is_refused(classifier: str) -> None:
    result = invoke(classifier, classifier)
    assert result.exit_code == 1
    assert "given twice" in result.stderr


def test_no_bundle_is_one_line(tmp_path: Path) -> None:
    result = invoke(str(tmp_path / "none"))
    assert result.exit_code == 1
    assert len(result.stderr.strip().splitlines()) == 1
