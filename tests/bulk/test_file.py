"""Tables are answered in order, whole, and again where they were left."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from bert_export.bulk import Answers, answer_file
from bert_export.cli import main
from bert_export.errors import DatasetError, InputError
from bert_export.exporter import Export
from bert_export.runtime.loading import load

TEXTS = [f"word {'more ' * (index % 5)}{index}" for index in range(50)]


@pytest.fixture(scope="module")
def bundle(tiny_export: Callable[..., Export]) -> Path:
    return Path(tiny_export("text-classification", "BertForSequenceClassification").path)


@pytest.fixture(scope="module")
def expected(bundle: Path) -> list[Any]:
    with load(bundle, threads=1) as pipeline:
        return list(pipeline(TEXTS))


@pytest.fixture
def answers(bundle: Path) -> Iterator[Answers]:
    with Answers(bundle, threads=1) as opened:
        yield opened


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"id": range(len(TEXTS)), "review": TEXTS}), path)
    return path


def assert_same(found: list[str], expected: list[Any]) -> None:
    assert len(found) == len(expected)
    for text, own in zip(found, expected, strict=True):
        answer = json.loads(text)
        assert answer == {"label": own["label"], "score": pytest.approx(own["score"], abs=1e-6)}


def test_every_kind_of_table(answers: Answers, expected: list[Any]) -> None:
    columns = answers({"text": np.array(TEXTS, dtype=object), "id": np.arange(len(TEXTS))})
    assert list(columns) == ["text", "id", "answer"]
    assert_same(list(columns["answer"]), expected)
    frame = answers(pd.DataFrame({"text": TEXTS}, index=range(7, 57)))
    assert frame.index[0] == 7
    assert_same(list(frame["answer"]), expected)
    table = answers(pa.table({"text": TEXTS}))
    assert_same(table["answer"].to_pylist(), expected)
    assert answers({"text": []})["answer"].shape == (0,)


def test_what_does_not_fit(answers: Answers, bundle: Path) -> None:
    for batch, said in (
        ({"txt": ["a"]}, "column text is missing"),
        ({"text": ["a", None]}, "item 1"),
        ({"text": ["a"], "text_pair": ["b", "c"]}, "differ in length"),
        ({"text": ["a"], "answer": ["b"]}, "is there already"),
        (5, "of the wrong type"),
    ):
        with pytest.raises(InputError, match=said):
            answers(batch)
    with pytest.raises(InputError, match="field question is unknown"):
        Answers(bundle, fields={"question": "q"})


def test_a_file_goes_on_where_it_was_left(
    bundle: Path, source: Path, expected: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = source.with_name("out.parquet")
    asked = {"fields": {"text": "review"}, "threads": 1, "part_rows": 8}

    class Stopped(Exception):  # noqa: N818 - as a signal
        pass

    def stops(done: int, _total: int) -> None:
        if done >= 24:
            raise Stopped

    with pytest.raises(Stopped):
        answer_file(source, output, bundle, advance=stops, **asked)  # type: ignore[arg-type]
    assert not output.exists()
    runs: list[int] = []
    call = Answers.__call__

    def counted(self: Answers, batch: Any) -> Any:
        runs.append(batch.num_rows)
        return call(self, batch)

    monkeypatch.setattr(Answers, "__call__", counted)
    heard: list[tuple[int, int]] = []
    rows = answer_file(
        source,
        output,
        bundle,
        advance=lambda done, total: heard.append((done, total)),
        **asked,  # type: ignore[arg-type]
    )
    assert (rows, sum(runs), heard[-1]) == (50, 26, (50, 50))
    table = pq.read_table(output)
    assert table["id"].to_pylist() == list(range(50))
    assert_same(table["answer"].to_pylist(), expected)
    assert sorted(path.name for path in source.parent.iterdir()) == ["in.parquet", "out.parquet"]


def test_another_call_starts_anew(bundle: Path, source: Path) -> None:
    output = source.with_name("out.parquet")
    parts = source.with_name("out.parquet.parts")
    parts.mkdir()
    (parts / "precious").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="is in the way"):
        answer_file(source, output, bundle, fields={"text": "review"})
    (parts / "call").write_text("another", encoding="utf-8")
    assert answer_file(source, output, bundle, fields={"text": "review"}, threads=1) == 50
    with pytest.raises(InputError, match="output is the input"):
        answer_file(source, source, bundle)
    with pytest.raises(DatasetError, match="cannot be read"):
        answer_file(bundle / "manifest.json", output, bundle)
    with pytest.raises(InputError, match=r"engine rey is unknown.*'ray'"):
        answer_file(source, output, bundle, engine="rey")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="do not go with the engine local"):
        answer_file(source, output, bundle, workers=2)


def test_a_row_that_does_not_fit_is_named(bundle: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.parquet"
    pq.write_table(pa.table({"text": [*TEXTS[:20], None, *TEXTS[21:]]}), source)
    with pytest.raises(InputError, match=r"rows from 16: .*item 4"):
        answer_file(source, tmp_path / "out.parquet", bundle, threads=1, part_rows=8)
    assert not (tmp_path / "out.parquet").exists()


def test_lines_of_a_text(bundle: Path, expected: list[Any], tmp_path: Path) -> None:
    source, output = tmp_path / "in.txt", tmp_path / "out.parquet"
    source.write_text("".join(f"{text}\n" for text in TEXTS), encoding="utf-8")
    assert answer_file(source, output, bundle, threads=1, part_rows=16) == len(TEXTS)
    table = pq.read_table(output)
    assert table["text"].to_pylist() == TEXTS
    assert_same(table["answer"].to_pylist(), expected)


def test_the_command(bundle: Path, source: Path, expected: list[Any]) -> None:
    output = source.with_name("out.parquet")
    command = ["run", str(bundle), "--input", str(source), "--field", "text=review"]
    refused = CliRunner().invoke(main, command)
    assert refused.exit_code == 2
    assert "--output FILE" in refused.output
    for options, said in (
        (["--output", str(output), "--workers", "2"], "workers are of the engine ray"),
        (["--output", str(output), "--engine", "spark"], "spark"),
    ):
        refused = CliRunner().invoke(main, [*command, *options])
        assert (refused.exit_code, said in refused.output) == (2, True), refused.output
    refused = CliRunner().invoke(main, ["run", str(bundle), "a text", "--engine", "ray"])
    assert (refused.exit_code, "--input FILE" in refused.output) == (2, True)
    done = CliRunner().invoke(main, [*command, "--output", str(output), "--threads", "1"])
    assert done.exit_code == 0, done.output
    assert_same(pq.read_table(output)["answer"].to_pylist(), expected)
