"""``--target auto``: every installed target is tried, what fails is dropped, the fastest serves."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

import bert_export
from bert_export import choosing
from bert_export.bundle import EngineRecord, GraphRecord, Manifest, read_manifest, verify_files
from bert_export.errors import (
    BertExportError,
    BudgetError,
    BundleError,
    InputError,
    MeasurementError,
    MissingExtraError,
    TargetError,
    VerificationError,
)
from bert_export.exporter import Export, Stage, export
from bert_export.exporter.auto_target import AUTO, candidates, choose, export_for
from bert_export.measuring.timing import Measured, timing_of
from bert_export.measuring.workloads import parse_shapes
from bert_export.passes.recipes import RECIPES
from bert_export.targets import TARGETS, Target

pytest.importorskip("openvino")

SHAPES = parse_shapes("1x16,8x128")
REFUSALS = (
    TargetError("graph cannot be taken", expected="none", got="one"),
    BundleError("graph cannot be compiled", expected="a graph", got="another"),
    MissingExtraError("refusing", extra="openvino"),
)


class Silent:
    """Hears an export and remembers its stages."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    def start(self, stage: str) -> None: ...
    def advance(self, done: int, total: int) -> None: ...
    def finish(self, stage: Stage) -> None:
        self.stages.append(stage.name)


def timed(**milliseconds: float) -> Measured:
    """Figures by shape, written ``s1x16=2.0``."""
    return Measured(
        timings={
            label[1:]: timing_of(rows=1, lifetimes=[[[value / 1000] * 3] * 4] * 2)
            for label, value in milliseconds.items()
        }
    )


def manifest_of(bundle: Export, *targets: str) -> Manifest:
    graph = GraphRecord(file="graph.onnx", opset=20, inputs=(), outputs=())
    engines = tuple(
        EngineRecord(target=target, precision="int8", graph=graph) for target in targets
    )
    return msgspec.structs.replace(bundle.manifest, engines=engines, default_target=targets[0])


@pytest.fixture(scope="module")
def single(tiny_export: Callable[..., Export]) -> Export:
    return tiny_export("feature-extraction", "BertModel")


class TestChoose:
    @pytest.mark.parametrize(
        ("first", "second", "wanted"),
        [
            ({"s1x16": 1.0, "s8x128": 10.0}, {"s1x16": 2.0, "s8x128": 20.0}, "a"),
            ({"s1x16": 1.0, "s8x128": 30.0}, {"s1x16": 2.0, "s8x128": 10.0}, "b"),
            # Shapes weigh the same, whatever they take: twice as fast on one is worth as much.
            ({"s1x16": 1.0, "s8x128": 21.0}, {"s1x16": 2.0, "s8x128": 10.0}, "b"),
            ({"s1x16": 1.0, "s8x128": 19.0}, {"s1x16": 2.0, "s8x128": 10.0}, "a"),
            # A target without a figure for every shape is out, however fast it is.
            ({"s1x16": 0.1}, {"s1x16": 2.0, "s8x128": 10.0}, "b"),
        ],
    )
    def test_least_mean(
        self,
        single: Export,
        first: Mapping[str, float],
        second: Mapping[str, float],
        wanted: str,
    ) -> None:
        measured = {"a": timed(**first), "b": timed(**second)}
        assert choose(manifest_of(single, "a", "b"), measured, SHAPES) == wanted

    def test_none_is_left(self, single: Export) -> None:
        measured = {
            "a": Measured(failure="it died"),
            "b": Measured(refusals={"8x128": "too long"}),
        }
        with pytest.raises(MeasurementError, match=r"no target can be timed.*it died.*too long"):
            choose(manifest_of(single, "a", "b"), measured, SHAPES)


class TestCandidates:
    def test_those_with_the_precision(self) -> None:
        assert {"onnxruntime", "openvino"} <= {target.name for target in candidates("int8")}
        assert "onnxruntime" not in {target.name for target in candidates("bf16")}

    def test_no_gpu_no_engine_for_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "")
        assert not any(target.gpu for target in candidates("fp32"))


@pytest.fixture(scope="module")
def done(tiny: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Export:
    return export_for(
        task="text-classification",
        model=str(tiny("BertForSequenceClassification", num_labels=3)),
        targets=(AUTO,),
        shapes="1x4,2x8",
        seconds=0.2,
        threads=1,
        output=tmp_path_factory.mktemp("auto") / "bundle",
        listener=Silent(),
    )


class TestExport:
    def test_the_fastest_is_the_default(self, done: Export) -> None:
        auto_target = done.manifest.auto_target
        assert auto_target is not None
        assert auto_target.shapes == ("1x4", "2x8")
        assert auto_target.threads == 1
        assert done.manifest.default_target == auto_target.chosen
        tried = {candidate.target: candidate for candidate in auto_target.candidates}
        assert {"onnxruntime", "openvino"} <= set(tried)
        times = {
            name: candidate.milliseconds["1x4"] * candidate.milliseconds["2x8"]
            for name, candidate in tried.items()
            if candidate.refusal is None
        }
        assert min(times, key=lambda name: times[name]) == auto_target.chosen

    def test_the_bundle_is_whole_and_serves_all(self, done: Export) -> None:
        manifest = read_manifest(done.path)
        verify_files(done.path, manifest)
        assert manifest == done.manifest
        assert [path.name for path in done.path.parent.iterdir()] == ["bundle"]
        answers = []
        for engine in manifest.engines:
            with bert_export.load(done.path, target=engine.target) as pipeline:
                answers.append(pipeline.ask({"text": "a b c"}))
        assert {answer[0]["label"] for answer in answers} == {answers[0][0]["label"]}
        assert done.stages[-1].name == "time"

    def test_texts_without_a_mask_get_one(self, tiny: Callable[..., Path], tmp_path: Path) -> None:
        found = export_for(
            task="fill-mask",
            model=str(tiny("BertForMaskedLM")),
            targets=(AUTO,),
            shapes="1x8",
            seconds=0.1,
            threads=1,
            output=tmp_path / "bundle",
            listener=Silent(),
        )
        assert found.manifest.auto_target is not None
        assert all(one.refusal is None for one in found.manifest.auto_target.candidates)

    @pytest.mark.parametrize("options", [{}, {"threads": 4096, "force": True}])
    def test_what_cannot_be_is_said_before_anything_is_exported(
        self, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "text-classification-fp32").mkdir()
        monkeypatch.setattr("bert_export.exporter.auto_target.export", None)
        with pytest.raises(BertExportError, match=r"exists already|threads do not fit"):
            export_for(task="text-classification", targets=(AUTO,), listener=Silent(), **options)

    def test_what_exists_is_kept(self, done: Export, tiny: Callable[..., Path]) -> None:
        before = read_manifest(done.path)
        with pytest.raises(BundleError, match="exists already"):
            export_for(
                task="text-classification",
                model=str(tiny("BertForSequenceClassification", num_labels=3)),
                targets=(AUTO,),
                shapes="1x4",
                seconds=0.1,
                threads=1,
                output=done.path,
                listener=Silent(),
            )
        assert read_manifest(done.path) == before

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"targets": (AUTO, "openvino")}, "target auto is given beside others"),
            ({"targets": ("openvino",), "shapes": "1x4"}, "shapes have no use for named targets"),
            ({"targets": (AUTO,), "shapes": "1by4"}, "shape '1by4' is malformed"),
            ({"targets": (AUTO,), "precision": "int3"}, "precision 'int3' is unknown"),
        ],
    )
    def test_refused(self, options: dict[str, Any], message: str, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=message):
            export_for(
                task="text-classification", output=tmp_path / "b", listener=Silent(), **options
            )
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("error", REFUSALS)
    def test_any_refusal_of_one_target_is_a_reason_to_go_on(
        self, error: BertExportError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def export(*, targets: Sequence[str], output: Path) -> tuple[str, ...]:
            del output
            if "refused" in targets:
                raise error
            return tuple(targets)

        monkeypatch.setattr(choosing, "export", export)
        names = ("first", "refused", "last")
        done = choosing._export_all(names, tmp_path / "bundle", {})
        assert done == (("first", "last"), {"refused": str(error)})
        with pytest.raises(type(error), match=re.escape(str(error))):
            choosing._export_all(("refused",), tmp_path / "bundle", {})

    def test_a_target_that_is_refused_is_left_out(
        self,
        tiny: Callable[..., Path],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        error = REFUSALS[0]

        def refuse(_: Any) -> None:
            raise error

        monkeypatch.setattr("tests.targets.refusing.check_graph", refuse)
        refusing = Target(
            name="refusing",
            summary="takes no graph",
            precisions=("bf16",),
            extra=None,
            module="tests.targets.refusing",
        )
        monkeypatch.setitem(cast("dict[str, Target]", TARGETS), "refusing", refusing)
        monkeypatch.setitem(cast("dict[Any, Any]", RECIPES), ("refusing", "bf16"), ())
        assert [target.name for target in candidates("bf16")] == ["openvino", "refusing"]
        done = export_for(
            task="text-classification",
            model=str(tiny("BertForSequenceClassification", num_labels=3)),
            targets=(AUTO,),
            precision="bf16",
            shapes="1x4",
            seconds=0.1,
            threads=1,
            output=tmp_path / "bundle",
            listener=Silent(),
        )
        assert done.manifest.auto_target is not None
        assert done.manifest.auto_target.chosen == "openvino"
        assert done.manifest.auto_target.candidates[-1].target == "refusing"
        assert done.manifest.auto_target.candidates[-1].refusal == str(error)
        assert [engine.target for engine in done.manifest.engines] == ["openvino"]

    @pytest.mark.parametrize("alone", [True, False])
    def test_a_target_over_the_budget_is_left_out(
        self,
        alone: bool,
        tiny: Callable[..., Path],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        asked = []

        def keeping_a_budget(*, targets: Any, max_drop: float, eval_data: str, **rest: Any) -> Any:
            assert (max_drop, eval_data, rest["opset"]) == (0.01, "eval.jsonl", 21)
            asked.append(tuple(targets))
            if "openvino" in targets and (alone or len(targets) > 1):
                raise BudgetError("budget", expected="1 %", got="2 %", fix="Ask less", search=None)
            return export(targets=targets, **rest)

        both = tuple(TARGETS[name] for name in ("onnxruntime", "openvino"))
        monkeypatch.setattr("bert_export.exporter.auto_target.candidates", lambda _: both)
        monkeypatch.setattr("bert_export.exporter.auto_target.export", keeping_a_budget)
        done = export_for(
            task="text-classification",
            model=str(tiny("BertForSequenceClassification", num_labels=3)),
            targets=(AUTO,),
            opset=21,
            max_drop=0.01,
            eval_data="eval.jsonl",
            shapes="1x4",
            seconds=0.1,
            threads=1,
            output=tmp_path / "bundle",
            listener=Silent(),
        )
        pair = ("onnxruntime", "openvino")
        again = [] if alone else [pair]
        assert asked == [pair, pair[:1], pair[1:], *again, pair[:1]]
        assert [engine.target for engine in done.manifest.engines] == ["onnxruntime"]
        assert done.manifest.auto_target is not None
        assert "got 2 %" in str(done.manifest.auto_target.candidates[-1].refusal)
        assert [path.name for path in tmp_path.iterdir()] == ["bundle"]

    def test_none_is_left(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*, targets: Any, **_: Any) -> Any:
            raise VerificationError(f"{len(targets)} refused")

        monkeypatch.setattr("bert_export.exporter.auto_target.export", refuse)
        with pytest.raises(VerificationError, match="1 refused"):
            export_for(task="fill-mask", targets=(AUTO,), output=tmp_path / "b", listener=Silent())
        assert not list(tmp_path.iterdir())

    def test_usual_shapes_are_cut_to_the_rows(
        self, tiny: Callable[..., Path], tmp_path: Path
    ) -> None:
        found = export_for(
            task="text-classification",
            model=str(tiny("BertForSequenceClassification", num_labels=3)),
            targets=(AUTO,),
            seconds=0.1,
            threads=1,
            max_length=12,
            output=tmp_path / "bundle",
            listener=Silent(),
        )
        assert found.manifest.auto_target is not None
        assert found.manifest.auto_target.shapes == ("1x12", "8x12")

    def test_shapes_longer_than_the_rows(self, tiny: Callable[..., Path], tmp_path: Path) -> None:
        heard = Silent()
        for options in ({"max_length": 12}, {}):
            with pytest.raises(InputError, match=r"shape 1x999 is longer.*--shapes"):
                export_for(
                    task="text-classification",
                    model=str(tiny("BertForSequenceClassification", num_labels=3)),
                    targets=(AUTO,),
                    shapes="1x4,1x999",
                    threads=1,
                    output=tmp_path / "bundle",
                    listener=heard,
                    **options,
                )
            assert bool(heard.stages) is not bool(options)  # a length that is known is seen first
            assert "time" not in heard.stages
            assert not list(tmp_path.iterdir())
