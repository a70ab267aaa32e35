"""Further targets for a bundle: the library call, and what it derives from bundles of any age."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import onnx_ir as ir
import pytest

import bert_export
from bert_export.bundle import (
    BuildRecord,
    EngineOptions,
    EngineRecord,
    QuantizationOptions,
    SearchRecord,
    hash_file,
    read_manifest,
    verify_files,
    write_manifest,
)
from bert_export.errors import (
    BundleError,
    CheckpointError,
    DatasetError,
    InputError,
    TargetError,
)
from bert_export.exporter import Export, export
from bert_export.exporter.accuracy_budget import REASON
from bert_export.exporter.add_targets import build, request_of
from bert_export.targets.weights import WEIGHTS_FILE
from tests.exporter.conftest import LABELS
from tests.support import built_record

pytest.importorskip("openvino")

HEAD = ("text-classification", "BertForSequenceClassification")
BUILT = built_record("tensorrt-rtx.engine")
ENGINES = EngineOptions(gpus=("l4",))
OLDER = Path(__file__).parents[1] / "bundle" / "older"


@pytest.fixture
def bundle(tiny_export: Callable[..., Export], tmp_path: Path) -> Path:
    return copied(tiny_export(*HEAD, **LABELS), tmp_path)


@pytest.fixture
def bundle_rtx(tiny_export: Callable[..., Export], tmp_path: Path) -> Path:
    """Of a target with a builder of its own, which has made no engine yet."""
    pytest.importorskip("tensorrt_rtx")
    return copied(tiny_export(*HEAD, targets=("tensorrt-rtx",), **LABELS), tmp_path)


@pytest.fixture
def bundle_int8(tiny_export: Callable[..., Export], tmp_path: Path) -> Path:
    return copied(tiny_export(*HEAD, precision="int8", **LABELS), tmp_path)


def copied(done: Export, folder: Path) -> Path:
    return Path(shutil.copytree(done.path, folder / "bundle"))


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def build_at_once(folder: Path, engine: EngineRecord, **_: Any) -> EngineRecord:
    """A builder that is done at once."""
    (folder / BUILT.file).write_bytes(b"built")
    return msgspec.structs.replace(engine, build=BuildRecord(engine=BUILT))


def search_of(folder: Path) -> SearchRecord:
    """How the bundle's default engine kept its budget."""
    plan = read_manifest(folder).engine().quantization
    assert plan is not None
    assert plan.search is not None
    return plan.search


def record_search(folder: Path, search: SearchRecord) -> None:
    """Let a bundle's only engine, and its request where it has one, tell of another search."""
    manifest = read_manifest(folder)
    (engine,) = manifest.engines
    assert engine.quantization is not None
    plan = msgspec.structs.replace(engine.quantization, search=search)
    request = manifest.request
    if request is not None:
        request = msgspec.structs.replace(request, eval_data=search.data)
    engines = (msgspec.structs.replace(engine, quantization=plan),)
    write_manifest(folder, msgspec.structs.replace(manifest, engines=engines, request=request))


class TestAdds:
    def test_one_target_may_be_a_string(self, bundle: Path) -> None:
        before = read_manifest(bundle)
        done = build(bundle, "openvino")
        assert [engine.target for engine in done.manifest.engines] == ["onnxruntime", "openvino"]
        assert done.manifest.request == before.request
        names = [stage.name for stage in done.stages]
        assert names == ["load", "trace", "optimize", "write", "reference", "verify"]

    def test_a_builder_finishes_what_is_there(self, bundle_rtx: Path, tmp_path: Path) -> None:
        told: list[dict[str, Any]] = []

        def builder(folder: Path, engine: EngineRecord, **options: Any) -> EngineRecord:
            told.append(options)
            return build_at_once(folder, engine)

        done = build(
            bundle_rtx,
            ["tensorrt-rtx"],
            engines=ENGINES,
            engine_cache=tmp_path,
            build_engine=builder,
        )
        assert [stage.name for stage in done.stages] == ["build"]  # nothing was exported again
        assert told == [{"options": ENGINES, "max_length": 32, "cache": tmp_path}]
        manifest = read_manifest(bundle_rtx)
        verify_files(bundle_rtx, manifest)
        assert manifest.engine().build.engine == BUILT
        assert manifest.files[BUILT.file].bytes == len(b"built")

    def test_an_engine_goes_with_the_graph_it_was_built_of(self, bundle_rtx: Path) -> None:
        build(bundle_rtx, ["tensorrt-rtx"], engines=ENGINES, build_engine=build_at_once)
        assert BUILT.file in content(bundle_rtx)
        build(bundle_rtx, ["tensorrt-rtx"], force=True)
        assert BUILT.file not in content(bundle_rtx)

    def test_weights_under_another_name_are_laid_down_anew(self, bundle: Path) -> None:
        """Bundles of schema version 1 kept them in a file of the graph's own."""
        manifest = read_manifest(bundle)
        model = ir.load(bundle / "onnxruntime.onnx")
        ir.save(model, bundle / "model.onnx", external_data="model.onnx.data")
        for name in ("onnxruntime.onnx", WEIGHTS_FILE):
            (bundle / name).unlink()
        engine = manifest.engine()
        graph = msgspec.structs.replace(engine.graph, file="model.onnx")
        names = (manifest.tokenizer.file, "model.onnx", "model.onnx.data")
        older = msgspec.structs.replace(
            manifest,
            engines=(msgspec.structs.replace(engine, graph=graph),),
            files={name: hash_file(bundle / name) for name in names},
        )
        write_manifest(bundle, older)
        with bert_export.load(bundle) as pipeline:
            before = pipeline("the cat sat", top_k=None)
        build(bundle, "openvino")
        verify_files(bundle, read_manifest(bundle))
        assert sorted(content(bundle)) == [
            "manifest.json",
            "model.onnx",
            "openvino.onnx",
            "tokenizer.json",
            WEIGHTS_FILE,
        ]
        for target in ("onnxruntime", "openvino"):
            with bert_export.load(bundle, target=target) as pipeline:
                after = pipeline("the cat sat", top_k=None)
            assert [row["label"] for row in after] == [row["label"] for row in before]


class TestRequestOf:
    def test_the_one_that_is_kept(self, bundle_int8: Path) -> None:
        manifest = read_manifest(bundle_int8)
        assert manifest.request is not None
        assert request_of(manifest) is manifest.request

    def test_without_one_it_is_told_by_the_plan(
        self, tiny: Callable[..., Path], tmp_path: Path
    ) -> None:
        quantization = QuantizationOptions(
            observer="mse",
            gptq=False,
            bias_correction=False,
            excluded_layers={"bert.encoder.layer.0.output.dense": "told so"},
        )
        done = export(
            model=tiny(HEAD[1], **LABELS),
            output=tmp_path / "bundle",
            precision="int8",
            quantization=quantization,
            max_length=16,
            opset=22,
            cpu="x86-64",
        )
        derived = request_of(msgspec.structs.replace(done.manifest, request=None))
        kept = done.manifest.request
        assert kept is not None
        assert derived.quantization is not None
        # A remedy that no layer shows did nothing, so that it is taken to have been off.
        remedies = ("channel_shifting", "smoothquant", "channel_splitting")
        off = {name: getattr(derived.quantization, name) for name in remedies}
        assert derived == msgspec.structs.replace(
            kept,
            calibration="text-classification",
            quantization=msgspec.structs.replace(quantization, **off),
        )

    def test_a_bundle_of_before_with_a_budget(self) -> None:
        manifest = read_manifest(OLDER / "v2-text-classification-int8-search")
        assert manifest.request is None
        plan = next(engine.quantization for engine in manifest.engines if engine.quantization)
        search = plan.search
        assert search is not None
        request = request_of(manifest)
        assert (request.max_drop, request.eval_data) == (search.budget, search.data)
        assert request.keep_best is not search.met
        assert request.targets == tuple(engine.target for engine in manifest.engines)
        assert request.quantization is not None
        assert set(search.excluded_layers).isdisjoint(request.quantization.excluded_layers)

    @pytest.mark.parametrize("name", sorted(path.name for path in OLDER.iterdir() if path.is_dir()))
    def test_bundles_of_any_age_have_one(self, name: str) -> None:
        manifest = read_manifest(OLDER / name)
        request = request_of(manifest)
        assert request.precision == manifest.engine().precision
        assert (request.task, request.max_length) == (
            manifest.task,
            manifest.tokenizer.max_length,
        )


class TestInt8:
    def test_a_later_int8_target_is_as_the_first_one(self, bundle: Path, tmp_path: Path) -> None:
        """The bundle's request is of FP32: INT8 is as the engine that was added has it."""
        texts = tmp_path / "texts.txt"
        texts.write_text("".join(f"the cat sat {n} times\n" for n in range(40)), encoding="utf-8")
        build(bundle, "openvino", precision="int8", calibration=texts)
        done = build(bundle, "onnxruntime", precision="int8", force=True)
        first, second = (engine.quantization for engine in done.manifest.engines)
        assert first is not None
        assert second is not None
        assert first.calibration == second.calibration
        assert first.calibration is not None
        assert first.calibration.source == str(texts)

    def test_options_of_the_request_hold_for_the_new_target(
        self, tiny: Callable[..., Path], tmp_path: Path
    ) -> None:
        layer = "bert.encoder.layer.0.output.dense"
        done = export(
            model=tiny(HEAD[1], **LABELS),
            output=tmp_path / "bundle",
            precision="int8",
            quantization=QuantizationOptions(excluded_layers={layer: "told so"}),
        )
        added = build(done.path, "openvino").manifest.engine("openvino").quantization
        assert added is not None
        assert {entry.layer: entry.reason for entry in added.layers if entry.layer == layer} == {
            layer: "told so"
        }


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "texts.txt"
    words = ("the cat sat", "a dog run", "new york", "on mat", "the dog")
    path.write_text("".join(f"{a} {b}\n" for a in words for b in words), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def exported(
    tiny: Callable[..., Path],
    texts: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Export:
    return export(
        model=tiny(HEAD[1], **LABELS),
        output=tmp_path_factory.mktemp("searched") / "bundle",
        precision="int8",
        max_drop=0.9,
        eval_data=texts,
    )


class TestBudget:
    """The accuracy budget of the bundle's request holds for a new engine too."""

    @pytest.fixture(params=["kept", "derived"])
    def searched(self, request: pytest.FixtureRequest, exported: Export, tmp_path: Path) -> Path:
        """A bundle with a budget, with its request or as those of before without one."""
        folder = copied(exported, tmp_path)
        if request.param == "derived":
            write_manifest(folder, msgspec.structs.replace(exported.manifest, request=None))
        return folder

    def test_it_is_measured(self, searched: Path, texts: Path) -> None:
        done = build(searched, "openvino")
        own, added = (engine.quantization for engine in done.manifest.engines)
        assert own is not None
        assert added is not None
        assert own.search is not None
        assert added.search is not None
        assert "search" in {stage.name for stage in done.stages}
        assert added.search.met
        assert added.search.budget == own.search.budget == 0.9
        assert (added.search.data, added.search.sha256) == (str(texts), own.search.sha256)
        assert added.search.groups == own.search.groups
        assert added.search.excluded_layers == own.search.excluded_layers == ()
        assert len(added.search.path) == 1

    def test_layers_that_the_search_left_in_float_stay_so(self, searched: Path) -> None:
        search = search_of(searched)
        excluded = msgspec.structs.replace(search.path[0], excluded=(1,))
        record_search(searched, msgspec.structs.replace(search, path=(excluded,)))
        added = build(searched, "openvino").manifest.engine("openvino").quantization
        assert added is not None
        assert {entry.layer for entry in added.layers if entry.reason == REASON} == set(
            search.groups[1].layers
        )

    def test_data_that_is_gone_is_said_with_what_to_pass(self, searched: Path, texts: Path) -> None:
        record_search(searched, msgspec.structs.replace(search_of(searched), data="gone.txt"))
        before = content(searched)
        with pytest.raises(DatasetError, match=r"cannot be measured: .* Pass --eval") as caught:
            build(searched, "openvino")
        assert "the data that it was kept on, gone.txt" in str(caught.value)
        assert content(searched) == before
        assert len(build(searched, "openvino", eval_data=texts).manifest.engines) == 2

    def test_other_data_is_refused(self, searched: Path, tmp_path: Path) -> None:
        before = content(searched)
        other = tmp_path / "other.txt"
        other.write_text("".join(f"another text {n}\n" for n in range(20)), encoding="utf-8")
        with pytest.raises(DatasetError, match="is not what the bundle's accuracy budget was kept"):
            build(searched, "openvino", eval_data=other)
        assert content(searched) == before

    def test_float_needs_none_of_it(self, searched: Path) -> None:
        record_search(searched, msgspec.structs.replace(search_of(searched), data="gone.txt"))
        done = build(searched, "openvino", precision="fp32")
        assert "search" not in {stage.name for stage in done.stages}


class TestRefuses:
    """Each leaves the bundle byte for byte as it was."""

    def test_no_target(self, bundle: Path) -> None:
        with pytest.raises(InputError, match="targets is empty"):
            build(bundle, [])

    def test_other_weights(self, bundle: Path, tiny: Callable[..., Path]) -> None:
        before = content(bundle)
        other = tiny("BertForSequenceClassification", num_labels=4)
        with pytest.raises(CheckpointError, match="is not the one that the bundle was made of"):
            build(bundle, ["openvino"], model=str(other))
        assert content(bundle) == before

    def test_another_tokenizer(
        self, bundle: Path, tiny: Callable[..., Path], tmp_path: Path
    ) -> None:
        before = content(bundle)
        model = Path(shutil.copytree(tiny(HEAD[1], **LABELS), tmp_path / "other"))
        path = model / "tokenizer_config.json"
        settings = json.loads(path.read_text(encoding="utf-8"))
        settings["clean_up_tokenization_spaces"] = not settings.get(
            "clean_up_tokenization_spaces", False
        )
        path.write_text(json.dumps(settings), encoding="utf-8")
        with pytest.raises(BundleError, match="would give the bundle another tokenizer"):
            build(bundle, ["openvino"], model=str(model))
        assert content(bundle) == before

    def test_a_damaged_bundle(self, bundle: Path) -> None:
        (bundle / WEIGHTS_FILE).write_bytes(b"")
        with pytest.raises(BundleError, match="wrong size"):
            build(bundle, ["openvino"])

    def test_a_failing_builder(self, bundle_rtx: Path) -> None:
        before = content(bundle_rtx)

        def fail(folder: Path, engine: EngineRecord, **_: Any) -> EngineRecord:
            (folder / "half.engine").write_bytes(b"half")
            raise InputError("builder is out of memory", got=engine.target)

        with pytest.raises(InputError, match="out of memory"):
            build(bundle_rtx, ["tensorrt-rtx"], engines=ENGINES, build_engine=fail)
        assert content(bundle_rtx) == before

    def test_two_builds_of_a_bundle_at_once(self, bundle_rtx: Path) -> None:
        def building_too(folder: Path, engine: EngineRecord, **_: Any) -> EngineRecord:
            with pytest.raises(BundleError, match="is being written by another process"):
                build(bundle_rtx, ["openvino"])
            return build_at_once(folder, engine)

        build(bundle_rtx, ["tensorrt-rtx"], engines=ENGINES, build_engine=building_too)
        manifest = read_manifest(bundle_rtx)
        verify_files(bundle_rtx, manifest)
        assert [engine.target for engine in manifest.engines] == ["tensorrt-rtx"]

    def test_another_precision_of_what_is_finished(self, bundle_rtx: Path) -> None:
        with pytest.raises(InputError, match=r"expected fp32, got bf16\. Pass --force"):
            build(bundle_rtx, ["tensorrt-rtx"], precision="bf16", engines=ENGINES)

    def test_what_is_served_beside_what_is_finished(self, bundle: Path) -> None:
        with pytest.raises(InputError, match="serves the target onnxruntime already"):
            build(bundle, ["onnxruntime", "tensorrt-rtx"], engines=ENGINES)

    def test_an_engine_that_nothing_says_a_gpu_for(self, bundle_rtx: Path) -> None:
        with pytest.raises(TargetError, match=r"cannot be built: expected an NVIDIA GPU, or --sm"):
            build(bundle_rtx, ["tensorrt-rtx"])

    def test_data_of_a_budget_that_is_none(self, bundle_int8: Path) -> None:
        with pytest.raises(InputError, match=r"accuracy budget is incomplete: .* got no drop"):
            build(bundle_int8, "openvino", eval_data="texts.txt")

    def test_other_calibration_text(self, bundle_int8: Path) -> None:
        manifest = read_manifest(bundle_int8)
        engine = manifest.engines[0]
        assert engine.quantization is not None
        assert engine.quantization.calibration is not None
        text = msgspec.structs.replace(engine.quantization.calibration, sha256="0" * 64)
        plan = msgspec.structs.replace(engine.quantization, calibration=text)
        engines = (msgspec.structs.replace(engine, quantization=plan),)
        write_manifest(bundle_int8, msgspec.structs.replace(manifest, engines=engines))
        with pytest.raises(BundleError, match="would give the bundle other calibration text"):
            build(bundle_int8, ["openvino"])
