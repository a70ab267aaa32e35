"""``bert-export evaluate``: a table, a figure, one JSON object, or one red line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from bert_export.cli import main
from bert_export.cli.console import stdout
from bert_export.cli.evaluate import figure_text
from bert_export.exporter import Export

ROW = {"prompt": "the cat", "choices": ["sat", "run", "on"]}


@pytest.fixture
def bundle(tiny_export: Callable[..., Export]) -> str:
    return str(tiny_export("multiple-choice", "BertForMultipleChoice").path)


@pytest.fixture
def labelled(tmp_path: Path) -> str:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps(ROW | {"label": n % 3}) for n in range(6)))
    return str(path)


def test_a_table_names_what_was_compared(bundle: str, labelled: str) -> None:
    done = CliRunner().invoke(main, ["evaluate", bundle, labelled, "--against", bundle])
    assert done.exit_code == 0, done.output
    assert "multiple-choice: 6 examples of" in done.output
    assert "cut to" not in done.output
    assert "choice accuracy" in done.output
    assert "0.3333 ± 0.2108" in done.output
    assert "choice accuracy gained" in done.output
    assert "+0.0000 ± 0.0000" in done.output
    assert "share of equal choices" in done.output
    assert "1.0000" in done.output


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_figures_are_whole_on_a_narrow_terminal(
    columns: int, bundle: str, labelled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stdout, "width", columns)
    done = CliRunner().invoke(main, ["evaluate", bundle, labelled])
    assert done.exit_code == 0, done.output
    assert "0.3333 ± 0.2108" in done.output


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.98765, "0.9877"), (1.0, "1.0000"), (1.4, "1.4000"), (1234.0, "1,234"), (-0.5, "-0.5000")],
)
def test_figures_are_counts_where_they_are_whole(value: float, text: str) -> None:
    assert figure_text(value) == text


def test_quiet_is_one_figure_and_json_one_object(bundle: str, labelled: str) -> None:
    done = CliRunner().invoke(main, ["evaluate", bundle, labelled, "--quiet"])
    assert (done.exit_code, done.output) == (0, "0.3333\n")
    done = CliRunner().invoke(main, ["evaluate", bundle, labelled, "--json"])
    found = json.loads(done.output)
    assert found["metric"] == "choice accuracy"
    assert found["scores"] == {"choice accuracy": pytest.approx(1 / 3)}
    assert found["standard_error"] == pytest.approx(0.2108, abs=1e-4)
    assert len(found["replicates"]) == found["examples"] == 6
    assert found["reference"] is None
    assert found["truncated"] == 0


def test_records_that_were_cut_are_told(bundle: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [ROW | {"label": 0}, ROW | {"prompt": "the cat " * 600, "label": 1}]
    path.write_text("\n".join(map(json.dumps, rows)))
    done = CliRunner().invoke(main, ["evaluate", bundle, str(path)])
    assert done.exit_code == 0, done.output
    assert "1 cut to the model's length" in " ".join(done.output.split())


def test_without_labels_it_says_what_to_do(bundle: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(ROW))
    done = CliRunner().invoke(main, ["evaluate", bundle, str(path)])
    assert done.exit_code == 1
    assert "has no labels" in done.stderr
    assert "--against" in done.stderr
    done = CliRunner().invoke(main, ["evaluate", bundle, str(path), "--against", bundle, "--quiet"])
    assert (done.exit_code, done.output) == (0, "1.0000\n")
