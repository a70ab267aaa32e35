"""The engine Ray; what needs a cluster runs where Ray is installed; see scripts/soak_ray.py."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from bert_export.bulk import answer_file
from bert_export.bulk.ray_engine import PartAnswers
from bert_export.bulk.work import Work
from bert_export.cli import main
from bert_export.errors import InputError
from bert_export.exporter import Export

TEXTS = [f"word {'more ' * (index % 5)}{index}" for index in range(50)]

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="a cluster of Ray takes long to start"
)


@pytest.fixture(scope="module")
def bundle(tiny_export: Callable[..., Export]) -> Path:
    return Path(tiny_export("text-classification", "BertForSequenceClassification").path)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"text": [*TEXTS[:-1], None]}), path)
    return path


def test_an_actor_answers_parts_and_returns_what_goes_wrong(bundle: Path, source: Path) -> None:
    import pickle

    work = Work(
        source=source, parts=source.parent / "parts", bundle=bundle, threads=1, part_rows=16
    )
    work.prepare()
    actor = PartAnswers(pickle.loads(pickle.dumps(work)))  # noqa: S301 - its own
    found = actor({"part": np.array([1, 0, 3])})
    assert found["rows"].tolist() == [16, 16, 0]
    assert found["error"][:2].tolist() == [b"", b""]
    error = pickle.loads(found["error"][2])  # noqa: S301 - the actor's
    assert isinstance(error, InputError)
    assert "rows from 48: item 1" in str(error)
    rows = [pq.read_table(work.part(number))["text"].to_pylist() for number in (0, 1)]
    assert rows == [TEXTS[:16], TEXTS[16:32]]
    gone = PartAnswers(Work(source=source, parts=work.parts, bundle=source.parent / "none"))
    assert "none" in str(pickle.loads(gone({"part": np.array([0])})["error"][0]))  # noqa: S301


def test_ray_that_is_missing_is_named(
    bundle: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    output = source.with_name("out.parquet")
    options = ["--input", str(source), "--output", str(output), "--engine", "ray"]
    done = CliRunner().invoke(main, ["run", str(bundle), *options])
    assert done.exit_code == 1
    assert "bert-export[ray]" in done.output


@needs_ray
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray speaks of its own internals
def test_actors_answer_a_file_in_order(bundle: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.txt"
    source.write_text("".join(f"{text}\n" for text in TEXTS), encoding="utf-8")
    serial, clustered = tmp_path / "serial.parquet", tmp_path / "clustered.parquet"
    answer_file(source, serial, bundle, threads=1, part_rows=4)
    heard: list[tuple[int, int]] = []
    rows = answer_file(
        source,
        clustered,
        bundle,
        part_rows=4,
        engine="ray",
        advance=lambda done, total: heard.append((done, total)),
    )
    assert (rows, heard[-1]) == (50, (50, 50))
    assert pq.read_table(clustered).equals(pq.read_table(serial))
    with pytest.raises(InputError, match="too few processors"):
        answer_file(source, clustered, bundle, engine="ray", workers=10_000)
