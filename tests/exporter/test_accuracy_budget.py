"""An accuracy budget: kept, refused with what was found, and the same twice."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from bert_export import load
from bert_export.cli import main
from bert_export.datasets import read_dataset
from bert_export.errors import BudgetError, DatasetError, InputError
from bert_export.evaluation import evaluate
from bert_export.exporter import Export, export
from bert_export.exporter.accuracy_budget import REASON, Budget
from bert_export.quantization.mixed_precision.search import MAX_FLOAT_SHARE
from bert_export.quantization.options import QuantizationOptions
from bert_export.tasks import find_task

pytestmark = pytest.mark.long

LABELS = {"id2label": {0: "a", 1: "b", 2: "c"}}
PLAIN = QuantizationOptions(
    channel_shifting=False,
    smoothquant=False,
    channel_splitting=False,
    gptq=False,
    bias_correction=False,
)
LINEAR_LAYERS = (
    *(
        f"bert.encoder.layer.{layer}.{part}"
        for layer in (0, 1)
        for part in (
            *("attention.self.query", "attention.self.key", "attention.self.value"),
            *("attention.output.dense", "intermediate.dense", "output.dense"),
        )
    ),
    "bert.pooler.dense",
)
WORDS = ("the cat sat", "a dog run", "new york", "on mat", "naive 文", "x y z", "the the", "sat on")


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Texts without labels: what counts is agreement with float."""
    path = tmp_path / "plain.jsonl"
    rows = [{"text": f"{left} {right}"} for left in WORDS for right in WORDS]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


@pytest.fixture
def arguments(tiny: Callable[..., Path], tmp_path: Path) -> dict[str, Any]:
    return {
        "task": "text-classification",
        "model": str(tiny("BertForSequenceClassification", **LABELS)),
        "precision": "int8",
        "output": tmp_path / "bundle",
    }


def spoil(folder: Path, into: Path) -> Path:
    """The same model for FP32, with one value channel per layer far above all the others."""
    shutil.copytree(folder, into)
    tensors = load_file(into / "model.safetensors")
    for layer in ("0", "1"):
        attention = f"bert.encoder.layer.{layer}.attention"
        for name in ("weight", "bias"):
            tensors[f"{attention}.self.value.{name}"][5] *= 3000
        tensors[f"{attention}.output.dense.weight"][:, 5] /= 3000
    save_file(tensors, into / "model.safetensors", metadata={"format": "pt"})
    return into


def test_a_generous_budget_keeps_everything_in_int8(arguments: dict[str, Any], texts: Path) -> None:
    done = export(**arguments, max_drop=0.9, eval_data=texts)
    plan = done.manifest.engine().quantization
    assert plan is not None
    search = plan.search
    assert search is not None
    assert search.met
    assert not search.labelled
    assert search.metric == "share of equal labels"
    assert (search.baseline, search.examples, search.data) == (1.0, 64, str(texts))
    assert search.excluded_layers == ()
    assert len(search.path) == 1
    assert sum(group.cost for group in search.groups) == pytest.approx(1)
    assert all(0 < group.sensitivity < 1 for group in search.groups)
    assert "search" in {stage.name for stage in done.stages}


def test_the_figure_is_that_of_the_written_bundle(
    arguments: dict[str, Any],
    texts: Path,
    tiny_export: Callable[..., Export],
) -> None:
    """What the search says is what the written engine does."""
    done = export(**arguments, max_drop=0.9, eval_data=texts)
    plan = done.manifest.engine().quantization
    assert plan is not None
    assert plan.search is not None
    exact = tiny_export("text-classification", "BertForSequenceClassification", **LABELS).path
    found = evaluate(done.path, texts, against=exact)
    assert found.reference is not None
    assert found.reference.agreement == plan.search.path[0].score


def test_layers_that_hurt_stay_in_float_and_the_bytes_are_the_same(
    arguments: dict[str, Any], texts: Path, tmp_path: Path
) -> None:
    arguments["model"] = str(spoil(Path(arguments["model"]), tmp_path / "spoilt"))
    options = arguments | {"quantization": PLAIN, "eval_data": texts, "max_drop": 0.05}
    done = export(**options)
    plan = done.manifest.engine().quantization
    assert plan is not None
    search = plan.search
    assert search is not None
    assert search.met
    assert search.path[0].drop > 0.05 >= search.path[search.chosen].drop
    assert search.path[search.chosen].float_share <= MAX_FLOAT_SHARE
    excluded = {layer.layer: layer.reason for layer in plan.layers if layer.precision == "fp32"}
    assert {layer for layer, reason in excluded.items() if reason == REASON} == set(
        search.excluded_layers
    )
    assert search.excluded_layers
    with load(done.path) as pipeline:
        assert pipeline("the cat sat")[0]["label"] in "abc"
    again = export(**options | {"output": tmp_path / "again"})
    assert again.manifest == done.manifest
    for name in done.manifest.files:
        assert (done.path / name).read_bytes() == (again.path / name).read_bytes()


def test_a_budget_out_of_reach_writes_nothing_unless_told(
    arguments: dict[str, Any], texts: Path
) -> None:
    labelled = texts.with_name("labelled.jsonl")
    rows = [json.loads(line) for line in texts.read_text(encoding="utf-8").splitlines()]
    with load(export(**arguments | {"precision": "fp32"}).path) as pipeline:
        answers = pipeline([row["text"] for row in rows])
    text = "\n".join(
        json.dumps(row | {"label": answer["label"]})
        for row, answer in zip(rows, answers, strict=True)
    )
    labelled.write_text(text, encoding="utf-8")
    arguments |= {"output": arguments["output"].with_name("none"), "eval_data": labelled}
    arguments["model"] = str(spoil(Path(arguments["model"]), labelled.with_name("spoilt")))
    only = "bert.encoder.layer.0.attention.output.dense"  # more than half of the work in INT8
    arguments["quantization"] = replace(
        PLAIN, excluded_layers={layer: "told so" for layer in LINEAR_LAYERS if layer != only}
    )
    with pytest.raises(BudgetError, match=r"points at best, .* pass --keep-best"):
        export(**arguments, max_drop=0.0)
    assert not arguments["output"].exists()
    done = export(**arguments, max_drop=0.0, keep_best=True)
    plan = done.manifest.engine().quantization
    assert plan is not None
    assert plan.search is not None
    assert not plan.search.met


@pytest.mark.parametrize(("examples", "points"), [(200, 0.5), (100, 1.0), (1000, 0.1), (1000, 0.7)])
def test_a_drop_of_just_the_budget_keeps_it(examples: int, points: float, texts: Path) -> None:
    budget = Budget(points / 100, read_dataset(find_task("fill-mask"), texts))
    lost = round(examples * points / 100)
    for right in range(lost, examples + 1):
        assert right / examples - (right - lost) / examples <= budget.allowed
        assert right / examples - (right - lost - 1) / examples > budget.allowed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_drop": 0.1}, "is incomplete: .* got no data"),
        ({"eval_data": "a.jsonl"}, "is incomplete: .* got no drop"),
        ({"max_drop": 0.1, "eval_data": "a.jsonl", "precision": "fp32"}, "has no use in fp32"),
        (
            {
                "max_drop": 0.1,
                "eval_data": "a.jsonl",
                "quantization": QuantizationOptions(mode="dynamic"),
            },
            "max_drop has no use for dynamic INT8",
        ),
    ],
)
def test_options_that_do_not_belong_together(
    options: dict[str, Any], message: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=message):
        export(**arguments | options)


def test_data_and_drop_are_checked_before_anything_is_traced(
    arguments: dict[str, Any], texts: Path
) -> None:
    with pytest.raises(InputError, match="max_drop is out of bounds"):
        export(**arguments, max_drop=5, eval_data=texts)
    with pytest.raises(DatasetError, match="cannot be read"):
        export(**arguments, max_drop=0.5, eval_data=texts.with_name("none.txt"))


def test_the_command_prints_the_path(
    tiny: Callable[..., Path], texts: Path, tmp_path: Path
) -> None:
    model = str(tiny("BertForSequenceClassification", **LABELS))
    options = ["--model", model, "--int8", "--eval", str(texts), "-o", str(tmp_path / "bundle")]
    done = CliRunner().invoke(main, [*options, "--max-drop", "90%"])
    assert done.exit_code == 0, done.output
    assert "accuracy budget of 90 points kept: share of equal labels on 64 examples" in done.stdout
    assert "chosen" in done.stdout
    assert "what INT8 disturbs most" in done.stdout
    done = CliRunner().invoke(main, [*options, "--max-drop", "a bit"])
    assert done.exit_code == 1
    assert "max-drop is malformed" in done.stderr
