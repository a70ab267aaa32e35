"""The commands that a user types around an encoder-decoder's bundle."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from bert_export import load
from bert_export.cli import main
from bert_export.exporter import Export

TEXTS = ["the cat sat on the mat", "a dog runs", "cat"]


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)))


def test_a_table_is_answered(halves_export: Export, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    done = invoke(
        "run", halves_export.path, "--input", tmp_path / "in.txt", "--output", tmp_path / "out"
    )
    assert done.exit_code == 0, done.output
    rows = pq.read_table(tmp_path / "out").to_pylist()
    with load(halves_export.path) as pipeline:
        assert [json.loads(row["answer"]) for row in rows] == [pipeline(text) for text in TEXTS]


def test_records_are_answered_and_scored(halves_export: Export, tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    records = [{"text": text, "summary": "a cat sat"} for text in TEXTS]
    data.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    done = invoke("run", halves_export.path, "--data", data, "-p", "num_beams=1")
    assert done.exit_code == 0, done.output
    with load(halves_export.path) as pipeline:
        assert [json.loads(line) for line in done.stdout.splitlines()] == [
            pipeline(text, num_beams=1) for text in TEXTS
        ]
    scored = invoke("evaluate", halves_export.path, data, "--json")
    assert scored.exit_code == 0, scored.output
    assert "next-token accuracy" in scored.stdout
    unlabelled = tmp_path / "texts.jsonl"
    unlabelled.write_text(json.dumps({"text": "a"}) + "\n", encoding="utf-8")
    refused = invoke("evaluate", halves_export.path, unlabelled)
    assert refused.exit_code == 1
    assert "expected the field summary in every record" in refused.stderr


def test_inspect_shows_both_graphs(halves_export: Export) -> None:
    done = invoke("inspect", halves_export.path)
    assert done.exit_code == 0, done.output
    assert "onnxruntime-encoder.onnx and onnxruntime.onnx" in done.stdout
    assert "openvino-encoder.onnx and openvino.onnx" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("explain",), "summarization cannot be explained: expected a task of a single graph"),
        (("hand-over", "--to", "optimum", "-o", "out"), "cannot be handed over to optimum"),
        (("run", "-p", "num_beam=2", "cat"), "Did you mean 'num_beams'"),
        (("run", "--task", "text-generation", "cat"), "text-generation does not fit the bundle"),
    ],
)
def test_what_is_not_there_is_named(
    halves_export: Export, arguments: tuple[str, ...], message: str
) -> None:
    command, *rest = arguments
    done = invoke(command, halves_export.path, *rest)
    assert done.exit_code != 0
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
