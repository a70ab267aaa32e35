"""An accuracy budget: kept, refused with what was found, and the same twice."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from bert_export import load
from bert_export.bundle import SearchRecord
from bert_export.cli import main
from bert_export.datasets import read_dataset
from bert_export.errors import BudgetError, DatasetError
from bert_export.evaluation import evaluate
from bert_export.exporter import Export, export
from bert_export.exporter.accuracy_budget import (
    REASON,
    Budget,
    _search_for_targets,
    keep_budget,
    keep_known_layers,
)
from bert_export.exporter.calibrate import Calibrated, calibrate
from bert_export.exporter.float_graph import FloatGraph
from bert_export.exporter.progress import Progress
from bert_export.exporter.refusal import Refusals
from bert_export.quantization.mixed_precision.search import MAX_FLOAT_SHARE
from bert_export.quantization.options import QuantizationOptions
from bert_export.quantization.weights.embeddings import TABLE
from bert_export.targets import TARGETS, Target
from bert_export.tasks import find_task
from tests.exporter import reversing

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
    untimed = [msgspec.structs.replace(one.manifest, stages={}) for one in (again, done)]
    assert untimed[0] == untimed[1]
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
    arguments["quantization"] = msgspec.structs.replace(
        PLAIN, excluded_layers={layer: "told so" for layer in LINEAR_LAYERS if layer != only}
    )
    with pytest.raises(BudgetError, match=r"points at best .* pass --keep-best"):
        export(**arguments, max_drop=0.03)
    assert not arguments["output"].exists()
    done = export(**arguments, max_drop=0.03, keep_best=True)
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


ONNXRUNTIME, OPENVINO = TARGETS["onnxruntime"], TARGETS["openvino"]
REVERSING = replace(OPENVINO, module="tests.exporter.reversing", precisions=("fp32", "int8"))
"""In the place of OpenVINO, a target whose answers are never those of float."""


@pytest.fixture
def calibrated(graph_of: Callable[..., FloatGraph], tmp_path: Path) -> Callable[..., Calibrated]:
    """The shared classifier in INT8, calibrated for some targets."""

    def make(*targets: Target, **options: Any) -> Calibrated:
        return calibrate(
            graph_of(precision="int8", **options),
            targets,
            folder=tmp_path,
            progress=Progress(),
            refusals=Refusals(),
        )

    return make


class TestStage:
    """The search as a step from one value to the next."""

    def keep(
        self, calibrated: Calibrated, folder: Path, *, tolerated: bool = False
    ) -> tuple[Calibrated, Refusals]:
        refusals = Refusals(tolerated=tolerated)
        kept = keep_budget(calibrated, folder=folder, progress=Progress(), refusals=refusals)
        return kept, refusals

    def test_without_a_budget_nothing_is_done(
        self, calibrated: Callable[..., Calibrated], tmp_path: Path
    ) -> None:
        start = calibrated(ONNXRUNTIME)
        assert self.keep(start, tmp_path)[0] is start

    def test_a_target_that_breaks_it_is_an_error_where_it_is_named(
        self, calibrated: Callable[..., Calibrated], texts: Path, tmp_path: Path
    ) -> None:
        start = calibrated(ONNXRUNTIME, REVERSING, max_drop=0.3, eval_data=str(texts))
        with pytest.raises(BudgetError, match=r"points at best .* pass --keep-best") as caught:
            self.keep(start, tmp_path)
        assert isinstance(caught.value.search, SearchRecord)
        assert not caught.value.search.met

    def test_a_target_that_breaks_it_is_left_out_where_that_is_tolerated(
        self, calibrated: Callable[..., Calibrated], texts: Path, tmp_path: Path
    ) -> None:
        start = calibrated(ONNXRUNTIME, REVERSING, max_drop=0.3, eval_data=str(texts))
        reversing.opened.clear()
        kept, refusals = self.keep(start, tmp_path, tolerated=True)
        assert kept.targets == (ONNXRUNTIME,)
        assert kept.search is not None
        assert kept.search.met
        ((refusal),) = refusals.refusals
        assert refusal.target == "openvino"
        assert isinstance(refusal.error, BudgetError)
        # Two searches ask it, and the second remembers what the first has measured.
        assert isinstance(refusal.error.search, SearchRecord)
        assert len(reversing.opened) == len(refusal.error.search.path)
        assert [path.name for path in tmp_path.iterdir()] == ["plain.jsonl"]

    def test_the_best_is_taken_where_that_is_asked_for(
        self, calibrated: Callable[..., Calibrated], texts: Path, tmp_path: Path
    ) -> None:
        options = {"max_drop": 0.3, "eval_data": str(texts), "keep_best": True}
        kept, _ = self.keep(calibrated(REVERSING, **options), tmp_path)
        assert kept.search is not None
        assert not kept.search.met
        excluded = kept.int8.options.excluded_layers
        assert set(kept.search.excluded_layers) - {TABLE} == set(excluded)

    def test_known_layers_are_measured_in_a_new_engine(
        self, calibrated: Callable[..., Calibrated], texts: Path, tmp_path: Path
    ) -> None:
        options = {"max_drop": 0.3, "eval_data": str(texts), "keep_best": True}
        search = self.keep(calibrated(REVERSING, **options), tmp_path)[0].search
        assert search is not None
        known = msgspec.structs.replace(search, chosen=1)
        assert known.excluded_layers
        start = calibrated(ONNXRUNTIME, **options | {"keep_best": False})
        found = keep_known_layers(start, known, folder=tmp_path, progress=Progress())
        assert found.search is not None
        assert found.search.met
        assert found.search.excluded_layers == known.excluded_layers
        assert found.search.path[0].score > known.path[known.chosen].score
        options_ = found.int8.options
        assert {*options_.excluded_layers, TABLE} == {*known.excluded_layers, TABLE}
        assert options_.embeddings is (TABLE not in known.excluded_layers)

    def test_a_new_engine_that_breaks_the_budget_is_refused(
        self, calibrated: Callable[..., Calibrated], texts: Path, tmp_path: Path
    ) -> None:
        options = {"max_drop": 0.3, "eval_data": str(texts)}
        known = self.keep(calibrated(ONNXRUNTIME, **options), tmp_path)[0].search
        assert known is not None
        with pytest.raises(BudgetError, match=r"The bundle is as it was; export all targets anew"):
            keep_known_layers(
                calibrated(REVERSING, **options), known, folder=tmp_path, progress=Progress()
            )

    def test_targets_that_keep_it_alone_and_not_together(self) -> None:
        """The last of them goes until the others keep it."""
        asked: list[tuple[Target, ...]] = []
        error = BudgetError("budget", expected="1 %", got="2 %", fix="Ask less", search=None)

        class Search:
            def run(self, targets: Sequence[Target]) -> str:
                asked.append(tuple(targets))
                if len(targets) > 1:
                    raise error
                return "found"

        refusals = Refusals(tolerated=True)
        both = (ONNXRUNTIME, OPENVINO)
        assert _search_for_targets(Search(), both, refusals) == ((ONNXRUNTIME,), "found")
        assert asked == [both, both[:1], both[1:], both, both[:1]]
        assert [refusal.error for refusal in refusals.refusals] == [error]


def write_texts(path: Path, count: int, label: str | None = None) -> Path:
    rows = [
        {"text": f"{WORDS[n % 8]} {WORDS[n // 8 % 8]} {n}"} | ({"label": label} if label else {})
        for n in range(count)
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


class TestSmallSets:
    """Data that cannot show a drop as small as the budget."""

    @pytest.mark.parametrize(("examples", "label"), [(2, None), (100, None), (199, "a")])
    def test_too_few_examples_are_refused_with_how_many_are_needed(
        self, examples: int, label: str | None, arguments: dict[str, Any], tmp_path: Path
    ) -> None:
        data = write_texts(tmp_path / "few.jsonl", examples, label)
        with pytest.raises(
            DatasetError,
            match=rf"cannot decide an accuracy budget of 0.5 points: expected at least 200 examples"
            rf", got {examples}, .* Add examples, or raise --max-drop",
        ):
            export(**arguments, max_drop=0.005, eval_data=data)
        assert not arguments["output"].exists()

    def test_the_standard_error_stands_beside_the_drop(
        self, arguments: dict[str, Any], tmp_path: Path
    ) -> None:
        data = write_texts(tmp_path / "enough.jsonl", 200)
        done = export(**arguments, max_drop=0.5, eval_data=data)
        plan = done.manifest.engine().quantization
        assert plan is not None
        assert plan.search is not None
        (configuration,) = plan.search.path
        assert configuration.drop_error is not None
        assert 1 / 200 <= configuration.drop_error < 0.05
        (stage,) = [stage for stage in done.stages if stage.name == "search"]
        assert stage.facts["standard error"] == f"{100 * configuration.drop_error:.2f} points"
        assert stage.facts["layers in float"] == "none"


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
    assert "std. error" in done.stdout
    assert "layers in float: none" in done.stdout
    done = CliRunner().invoke(main, [*options, "--max-drop", "a bit"])
    assert done.exit_code == 2
    assert "max-drop is malformed" in done.stderr
