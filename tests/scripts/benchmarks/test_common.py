"""The harness of the benchmarks: turns, figures, bounds, tables, children."""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from measuring.children import ChildError, pinned_environment, run_command, run_worker
from measuring.figures import Bound, Samples, ratio
from measuring.machine import describe_machine, installed_versions
from measuring.options import Common, benchmark
from measuring.peers import find_peers
from measuring.report import Report, Section
from measuring.texts import read_texts, vary
from measuring.turns import Contender, interleave, take_turns
from measuring.worker_graphs import summarize

from bert_export.exporter import export
from tests.oracle import save_tiny


def make_report(*bounds: Bound) -> Report:
    samples = Samples()
    samples.add({"seconds": 1.0})
    samples.add({"seconds": 3.0})
    return Report(
        benchmark="bench_nothing",
        machine={"cpu": "none", "instructions": ["one", "two"]},
        versions={},
        settings={"threads": 2},
        sections=[Section("medians", ("contender", "seconds"), [("a", 2.0), ("b", None)])],
        samples={"a": samples},
        bounds=bounds,
        notes=["Brackets [such as these] are text."],
    )


def test_turns_are_interleaved() -> None:
    assert list(interleave(["a", "b"], 2)) == [(0, "a"), (0, "b"), (1, "a"), (1, "b")]


@pytest.mark.parametrize(("warm_up", "counted"), [(False, [0.0, 2.0]), (True, [2.0, 4.0])])
def test_turns_measure_in_order_and_leave_out_the_warm_up(
    *, warm_up: bool, counted: list[float]
) -> None:
    order: list[str] = []
    contenders = [Contender(name, lambda: {"turn": float(len(order) - 1)}) for name in ("a", "b")]
    samples = take_turns(contenders, rounds=2, warm_up=warm_up, announce=order.append)
    assert order == ["a", "b"] * (3 if warm_up else 2)
    assert samples["a"].values["turn"] == counted


def test_medians_and_ratios() -> None:
    samples = Samples()
    for value in (5.0, 1.0, 2.0):
        samples.add({"ms": value})
    assert samples.median("ms") == 2.0
    assert samples.median("absent") is None
    assert samples.as_json() == {"ms": {"median": 2.0, "values": [5.0, 1.0, 2.0]}}
    assert ratio(6.0, 2.0) == 3.0
    assert ratio(None, 2.0) is None
    assert ratio(6.0, None) is None
    assert ratio(6.0, 0.0) is None


@pytest.mark.parametrize(
    ("value", "side", "verdict"),
    [
        (0.5, "at most", "PASS"),
        (0.6, "at most", "PASS"),
        (0.61, "at most", "MISS"),
        (0.5, "at least", "MISS"),
        (0.6, "at least", "PASS"),
        (None, "at least", "UNMEASURED"),
    ],
)
def test_verdicts(value: float | None, side: str, verdict: str) -> None:
    bound = Bound("it", value, 0.6, side, "s")  # type: ignore[arg-type]
    assert bound.verdict == verdict
    assert bound.as_json()["verdict"] == verdict


def command(report: Report) -> click.Command:
    @benchmark(rounds=1)
    def main(common: Common) -> Report:
        assert common.threads == 2
        return report

    return main


def test_report_is_printed_with_verdicts(tmp_path: Path) -> None:
    report = make_report(Bound("first answer", 0.7, 0.6, "at most", "s"))
    result = CliRunner().invoke(command(report), ["--work", str(tmp_path)])
    assert result.exit_code == 0, result.output
    row = next(line for line in result.stdout.splitlines() if "first answer" in line)
    assert row.split() == ["first", "answer", "0.7", "s", "at", "most", "0.6", "s", "MISS"]
    assert "instructions one two" in result.stdout
    assert "Brackets [such as these] are text." in result.stdout
    assert [line.split() for line in result.stdout.splitlines() if line.startswith("  b ")] == [
        ["b", "-"]
    ]


def test_json_goes_to_standard_output_alone(tmp_path: Path) -> None:
    result = CliRunner().invoke(command(make_report()), ["--work", str(tmp_path), "--json", "-"])
    assert json.loads(result.stdout)["figures"]["a"]["seconds"]["median"] == 2.0
    assert "medians" in result.stderr


def test_json_goes_to_a_file(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    CliRunner().invoke(command(make_report()), ["--work", str(tmp_path), "--json", str(file)])
    assert json.loads(file.read_text(encoding="utf-8"))["settings"] == {"threads": 2}


@pytest.mark.parametrize(("value", "code"), [(0.5, 0), (0.7, 1), (None, 0)])
def test_strict_fails_on_a_miss_only(tmp_path: Path, value: float | None, code: int) -> None:
    report = make_report(Bound("it", value, 0.6, "at most", "s"))
    result = CliRunner().invoke(command(report), ["--work", str(tmp_path), "--strict"])
    assert result.exit_code == code


def test_machine_is_described() -> None:
    machine = describe_machine()
    assert machine["cpu"]
    assert machine["cores"] >= 1
    assert "onnxruntime" in installed_versions()
    assert installed_versions(["no-such-package"]) == {}


def test_threads_are_pinned_everywhere() -> None:
    environment = pinned_environment(3)
    assert {environment["OMP_NUM_THREADS"], environment["RAYON_NUM_THREADS"]} == {"3"}


def test_command_is_accounted_for() -> None:
    usage = run_command([sys.executable, "-c", "x = bytearray(200_000_000)"], threads=1)
    assert usage.seconds > 0
    assert usage.peak_bytes > 200_000_000


def test_command_tells_what_it_printed() -> None:
    code = "import sys; print('figures'); print('progress', file=sys.stderr)"
    assert run_command([sys.executable, "-c", code], threads=1).printed == "figures\n"


def test_failed_command_shows_its_last_words() -> None:
    with pytest.raises(ChildError, match="last words"):
        run_command([sys.executable, "-c", "raise SystemExit('last words')"], threads=1)


def test_failed_worker_shows_its_last_words() -> None:
    with pytest.raises(ChildError, match="KeyError"):
        run_worker("worker_graphs", {}, threads=1)


def test_absent_peers_say_how_to_get_them() -> None:
    for python in (None, Path(sys.executable)):
        peers, (note,) = find_peers(python)
        assert peers is None
        assert "pip install" in note


def test_texts_are_varied_when_they_run_out() -> None:
    assert vary(["a b", "c d"], 1) == ["a b"]
    assert vary(["a b", "c d"], 4) == ["a b", "c d", "a b c d", "c d a b"]


def test_texts_of_a_file_are_shuffled_alike_every_time(tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    lines = [f"text {index}" for index in range(20)]
    file.write_text("\n".join([*lines, "", lines[0]]), encoding="utf-8")
    random.seed(time.time_ns())
    texts, source = read_texts(20, file)
    assert (sorted(texts), source) == (sorted(lines), "texts.txt")
    assert texts != lines
    assert read_texts(20, file)[0] == texts


def test_texts_come_from_somewhere() -> None:
    texts, source = read_texts(50)
    assert len(texts) == 50
    assert source


@pytest.fixture(scope="module")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    save_tiny("BertForTokenClassification", folder / "model")
    return export(
        task="token-classification",
        model=str(folder / "model"),
        output=folder / "bundle",
        threads=1,
    ).path


@pytest.mark.parametrize("way", ["ours", "onnxruntime + tokenizers"])
def test_cold_start_worker_answers(tiny_bundle: Path, way: str) -> None:
    request = {
        "way": way,
        "bundle": str(tiny_bundle),
        "graph": "onnxruntime.onnx",
        "tokenizer": "tokenizer.json",
        "text": "the cat sat",
        "options": {},
    }
    (answer,), usage = run_worker("worker_cold_start", request, threads=1)
    assert answer["event"] == "answer"
    assert 0 < answer["from_import"] < answer["from_spawn"] <= answer["received"] <= usage.seconds
    assert 0 < answer["peak_bytes"] <= usage.peak_bytes


def test_graph_workers_build_feeds_time_and_compare(tiny_bundle: Path, tmp_path: Path) -> None:
    shapes = [[1, 4], [3, 8]]
    files = [str(tmp_path / f"{index}.npz") for index in range(len(shapes))]
    feeds = {
        "bundle": str(tiny_bundle), "shapes": shapes, "files": files, "ragged": True,
        "masked": False,
    }  # fmt: skip
    run_worker("worker_feeds", feeds, threads=1)
    for kind, graph in (("bundle", tiny_bundle), ("file", tiny_bundle / "onnxruntime.onnx")):
        request = {
            "kind": "measure",
            "graph": str(graph),
            "is_bundle": kind == "bundle",
            "shapes": shapes,
            "files": files,
            "answers": [None, str(tmp_path / f"{kind}-answers.npz")],
            "seconds": 0.0,
            "profile": None,
        }
        messages, _ = run_worker("worker_graphs", request, threads=1)
        assert [message["shape"] for message in messages] == shapes
        assert all(message["seconds"] > 0 for message in messages)
    compared, _ = run_worker(
        "worker_graphs",
        {
            "kind": "compare",
            "reference": str(tmp_path / "file-answers.npz"),
            "candidate": str(tmp_path / "bundle-answers.npz"),
        },
        threads=1,
    )
    assert [message["output"] for message in compared] == ["logits"]
    assert compared[0]["difference"] < 1e-5


def test_profile_names_operators(tiny_bundle: Path, tmp_path: Path) -> None:
    file = str(tmp_path / "feeds.npz")
    feeds = {
        "bundle": str(tiny_bundle), "shapes": [[2, 6]], "files": [file], "ragged": False,
        "masked": False,
    }  # fmt: skip
    run_worker("worker_feeds", feeds, threads=1)
    request = {
        "kind": "measure",
        "graph": str(tiny_bundle),
        "is_bundle": True,
        "shapes": [[2, 6]],
        "files": [file],
        "answers": [None],
        "seconds": 0.0,
        "profile": str(tmp_path / "profile"),
    }
    (message,), _ = run_worker("worker_graphs", request, threads=1)
    operators = {item["operator"]: item for item in message["operators"]}
    assert "LayerNormalization" in operators
    assert sum(item["ms"] for item in operators.values()) > 0
    assert not list(tmp_path.glob("profile*"))


def test_profile_counts_a_body_once() -> None:
    def event(operator: str, start: int, duration: int) -> dict[str, Any]:
        return {
            "cat": "Node",
            "name": f"{operator}_kernel_time",
            "ts": start,
            "dur": duration,
            "args": {"op_name": operator},
        }

    events = [event("Add", 0, 1000), event("If", 1000, 5000), event("MatMul", 1500, 4000)]
    found = {item["operator"]: item["ms"] for item in summarize(events, runs=2)}
    assert found == {"MatMul": 2.0, "Add": 0.5, "If": 0.5}
