"""A bundle is read back as it was written, and anything else is refused by name."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bert_export.bundle import (
    MANIFEST,
    SCHEMA_VERSION,
    CalibrationRecord,
    EngineRecord,
    FileRecord,
    GraphRecord,
    LayerPlan,
    Manifest,
    ModelRecord,
    ParityCase,
    ParityRecord,
    QuantizationPlan,
    TensorSpec,
    TokenizerRecord,
    hash_file,
    read_manifest,
    replace_folder,
    verify_files,
    write_manifest,
)
from bert_export.errors import BundleError
from tests.support import built_record

FILES = {
    "onnxruntime.onnx": b"graph",
    "weights.data": bytes(range(256)) * 9000,
    "tokenizer.json": b"{}",
}

GRAPH = ("engines", 0, "graph")


def make_manifest(folder: Path, **changes: Any) -> Manifest:
    fields: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "task": "text-classification",
        "labels": ("négatif", "positif"),
        "model": ModelRecord(
            source="demo:snips",
            architecture="BertForSequenceClassification",
            weights_sha256="0" * 64,
            parameters=10,
            hidden_size=8,
            num_hidden_layers=2,
            num_attention_heads=2,
            vocab_size=30,
            type_vocab_size=2,
            max_position_embeddings=32,
        ),
        "tokenizer": TokenizerRecord(file="tokenizer.json", max_length=32, do_lower_case=True),
        "postprocessing": {"problem_type": None},
        "default_target": "onnxruntime",
        "engines": (
            EngineRecord(
                target="onnxruntime",
                precision="int8",
                graph=GraphRecord(
                    file="onnxruntime.onnx",
                    opset=20,
                    inputs=(
                        TensorSpec(name="input_ids", dtype="int64", shape=("batch", "sequence")),
                    ),
                    outputs=(TensorSpec(name="logits", dtype="float32", shape=("batch", 2)),),
                ),
                passes=(),
                quantization=QuantizationPlan(
                    mode="static",
                    processor="x86-64",
                    weight_bits=7,
                    weight_type="int8",
                    activation_type="uint8",
                    observer="percentile",
                    layers=(
                        LayerPlan(
                            layer="bert.pooler.dense",
                            precision="int8",
                            activation_scale=0.1,
                            activation_zero_point=128,
                        ),
                        LayerPlan(layer="classifier", precision="fp32", reason="the last layer"),
                    ),
                    calibration=CalibrationRecord(
                        source="calibration/text-classification",
                        sha256="1" * 64,
                        examples=64,
                        rows=64,
                        tokens=900,
                        seed=0,
                    ),
                ),
                parity=ParityRecord(
                    reference="pytorch fp32",
                    max_abs_difference=0.25,
                    tolerance=None,
                    agreement=0.99,
                    min_agreement=0.98,
                    agreement_kind="label",
                    cases=(ParityCase(name="short", rows=3, max_abs_difference=0.25),),
                ),
            ),
        ),
        "versions": {"torch": "2.13.0"},
        "files": {name: hash_file(folder / name) for name in FILES},
    }
    return Manifest(**(fields | changes))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    write_manifest(folder, make_manifest(folder))
    return folder


def edit(bundle: Path, *path: str | int, value: Any) -> None:
    """Change one value of ``manifest.json``."""
    content = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    (bundle / MANIFEST).write_text(json.dumps(content), encoding="utf-8")


class TestRoundTrip:
    def test_read_what_was_written(self, bundle: Path) -> None:
        manifest = read_manifest(bundle)
        assert manifest == make_manifest(bundle)
        verify_files(bundle, manifest)

    def test_without_the_optional_records(self, bundle: Path) -> None:
        manifest = make_manifest(bundle, labels=())
        bare = msgspec.structs.replace(manifest.engines[0], quantization=None, parity=None)
        manifest = msgspec.structs.replace(manifest, engines=(bare,))
        write_manifest(bundle, manifest)
        assert read_manifest(bundle) == manifest

    def test_text(self, bundle: Path) -> None:
        text = (bundle / MANIFEST).read_text(encoding="utf-8")
        assert text.startswith('{\n  "schema_version": 3,\n')
        assert text.endswith("}\n")
        assert "négatif" in text
        assert json.loads(text)["engines"][0]["graph"]["inputs"][0]["shape"] == [
            "batch",
            "sequence",
        ]

    def test_hash_file(self, bundle: Path) -> None:
        assert hash_file(bundle / "tokenizer.json") == FileRecord(
            bytes=2, sha256="44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        )
        assert hash_file(bundle / "weights.data").bytes == 256 * 9000

    def test_records_are_immutable(self, bundle: Path) -> None:
        with pytest.raises(AttributeError):
            read_manifest(bundle).task = "fill-mask"  # type: ignore[misc]


class TestReadManifest:
    def test_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(BundleError, match=r"has no manifest\.json: .* got no such folder"):
            read_manifest(tmp_path / "absent")

    def test_missing_manifest(self, tmp_path: Path) -> None:
        with pytest.raises(BundleError, match="got a folder without it"):
            read_manifest(tmp_path)

    @pytest.mark.parametrize(
        "text",
        [
            b"",
            b"not json",
            b"{}",
            b"[]",
            b"null",
            b'{"schema_version": "1"}',
            b'{"schema_version": 3}',
            b'{"schema_version": 2}',
            b'{"schema_version": 1}',
            b"[" * 100_000,
            b'{"schema_version": 2, "deep": ' + b"[" * 100_000,
            b'{"schema_version": 2, "text": "\xff"}',
        ],
    )
    def test_malformed(self, tmp_path: Path, text: bytes) -> None:
        (tmp_path / MANIFEST).write_bytes(text)
        with pytest.raises(BundleError, match="has a malformed manifest"):
            read_manifest(tmp_path)

    @pytest.mark.parametrize(
        ("version", "fix"), [(SCHEMA_VERSION + 1, "Upgrade bert-export"), (0, "Export the bundle")]
    )
    def test_other_version(self, bundle: Path, version: int, fix: str) -> None:
        """The version decides before any field that this version does not know."""
        edit(bundle, "schema_version", value=version)
        edit(bundle, "novelty", value=True)
        with pytest.raises(BundleError, match=f"expected 1 to 3, got {version}. {fix}"):
            read_manifest(bundle)

    @pytest.mark.parametrize("path", [("novelty",), (*GRAPH, "novelty"), ("tokenizer", "novelty")])
    def test_unknown_field(self, bundle: Path, path: tuple[str | int, ...]) -> None:
        edit(bundle, *path, value=1)
        with pytest.raises(BundleError, match="novelty"):
            read_manifest(bundle)

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            (("task",), None),
            (("labels",), "positive"),
            ((*GRAPH, "opset"), "20"),
            (("tokenizer", "max_length"), 1.5),
            (("files", "onnxruntime.onnx"), {}),
        ],
    )
    def test_wrong_type(self, bundle: Path, path: tuple[str | int, ...], value: Any) -> None:
        edit(bundle, *path, value=value)
        with pytest.raises(BundleError, match=rf"malformed manifest\.json: .*\$\.{path[0]}"):
            read_manifest(bundle)

    @pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/b", "..", ".", "", "./x", "x/"])
    @pytest.mark.parametrize("place", [GRAPH, ("tokenizer",), ("files",)])
    def test_name_that_leaves_the_folder(
        self, bundle: Path, place: tuple[str | int, ...], name: str
    ) -> None:
        if place == ("files",):
            edit(bundle, "files", name, value={"bytes": 1, "sha256": "0"})
        else:
            edit(bundle, *place, "file", value=name)
        with pytest.raises(BundleError, match="names a file outside its folder") as caught:
            read_manifest(bundle)
        assert repr(name) in str(caught.value)

    def test_an_engine_outside_the_folder(self, bundle: Path) -> None:
        built = msgspec.to_builtins(built_record("../../etc/hostname"))
        edit(bundle, "engines", 0, "build", value={"engine": built})
        with pytest.raises(BundleError, match="names a file outside its folder"):
            read_manifest(bundle)
        edit(bundle, "engines", 0, "build", value={"engine": {**built, "file": "a.engine"}})
        with pytest.raises(BundleError, match=r"does not list the file a\.engine"):
            verify_files(bundle, read_manifest(bundle))

    @pytest.mark.parametrize("length", [-1, 0, 1, 33, 5000])
    def test_rows_that_the_model_does_not_take(self, bundle: Path, length: int) -> None:
        edit(bundle, "tokenizer", "max_length", value=length)
        with pytest.raises(BundleError, match=f"max_length of 2 to 32, got {length}"):
            read_manifest(bundle)

    def test_other_labels_than_the_graph_scores(self, bundle: Path) -> None:
        edit(bundle, "labels", value=["one"])
        with pytest.raises(BundleError, match="expected 2 labels, got 1"):
            read_manifest(bundle)

    @settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.binary(max_size=60) | st.from_regex(rb'\{"schema_version": ?[123],?.*', fullmatch=True)
    )
    @example(b'{"schema_version": 2}')
    @example(b"\xef\xbb\xbf{}")
    def test_random_bytes(self, tmp_path: Path, text: bytes) -> None:
        (tmp_path / MANIFEST).write_bytes(text)
        with pytest.raises(BundleError):
            read_manifest(tmp_path)

    @settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(place=st.integers(0, 10_000), byte=st.integers(0, 255))
    def test_one_byte_changed(self, bundle: Path, place: int, byte: int) -> None:
        """A damaged manifest is refused or still one of the schema."""
        whole = bytearray(msgspec.json.encode(make_manifest(bundle)))
        whole[place % len(whole)] = byte
        (bundle / MANIFEST).write_bytes(whole)
        try:
            manifest = read_manifest(bundle)
            verify_files(bundle, manifest)
        except BundleError:
            return
        assert isinstance(manifest, Manifest)


class TestEngines:
    def test_the_default_answers_when_none_is_named(self, bundle: Path) -> None:
        manifest = make_manifest(bundle)
        assert manifest.engine() is manifest.engine("onnxruntime") is manifest.engines[0]

    def test_a_target_that_is_not_served(self, bundle: Path) -> None:
        with pytest.raises(BundleError, match="does not serve the target openvino: expected onnxr"):
            make_manifest(bundle).engine("openvino")

    def test_a_default_that_is_not_served(self, bundle: Path) -> None:
        edit(bundle, "default_target", value="openvino")
        with pytest.raises(BundleError, match="does not serve the target openvino"):
            read_manifest(bundle)


class TestVerifyFiles:
    @pytest.mark.parametrize("name", FILES)
    def test_missing(self, bundle: Path, name: str) -> None:
        (bundle / name).unlink()
        with pytest.raises(BundleError, match=f"lacks the file {name}"):
            verify_files(bundle, read_manifest(bundle))

    @pytest.mark.parametrize("name", FILES)
    def test_tampered(self, bundle: Path, name: str) -> None:
        content = bytearray((bundle / name).read_bytes())
        content[-1] ^= 1
        (bundle / name).write_bytes(content)
        with pytest.raises(BundleError, match=f"file {name} has the wrong sha256"):
            verify_files(bundle, read_manifest(bundle))

    @pytest.mark.parametrize("name", FILES)
    def test_truncated(self, bundle: Path, name: str) -> None:
        content = FILES[name]
        (bundle / name).write_bytes(content[:-1])
        message = f"wrong size: expected {len(content)} bytes, got {len(content) - 1} bytes"
        with pytest.raises(BundleError, match=message):
            verify_files(bundle, read_manifest(bundle))

    def test_folder_in_place_of_a_file(self, bundle: Path) -> None:
        (bundle / "tokenizer.json").unlink()
        (bundle / "tokenizer.json").mkdir()
        with pytest.raises(BundleError, match=r"file tokenizer\.json cannot be read"):
            verify_files(bundle, read_manifest(bundle))

    @pytest.mark.parametrize("name", ["x" * 300, "nul\0"])
    def test_impossible_name(self, bundle: Path, name: str) -> None:
        edit(bundle, "files", name, value={"bytes": 1, "sha256": "0"})
        with pytest.raises(BundleError, match="cannot be read"):
            verify_files(bundle, read_manifest(bundle))

    @pytest.mark.parametrize("name", ["onnxruntime.onnx", "tokenizer.json"])
    def test_unlisted(self, bundle: Path, name: str) -> None:
        files = {other: hash_file(bundle / other) for other in FILES if other != name}
        with pytest.raises(BundleError, match=f"does not list the file {name}"):
            verify_files(bundle, make_manifest(bundle, files=files))


def fail_inside(target: Path, error: type[BaseException]) -> None:
    with replace_folder(target, force=True) as work:
        (work / "half").write_text("half")
        raise error("inside")


class TestReplaceFolder:
    def test_new(self, tmp_path: Path) -> None:
        target = tmp_path / "deep" / "bundle"
        with replace_folder(target) as work:
            (work / "file").write_text("new")
            assert not target.exists()
            assert work.parent.parent == target.parent
        assert (target / "file").read_text() == "new"
        assert [path.name for path in target.parent.iterdir()] == ["bundle"]

    def test_permissions_are_those_of_any_folder(self, tmp_path: Path) -> None:
        (tmp_path / "usual").mkdir()
        with replace_folder(tmp_path / "bundle") as work:
            (work / "file").touch()
        usual = stat.S_IMODE((tmp_path / "usual").stat().st_mode)
        assert stat.S_IMODE((tmp_path / "bundle").stat().st_mode) == usual

    def test_force_replaces_a_bundle(self, bundle: Path) -> None:
        with replace_folder(bundle, force=True) as work:
            (work / "file").write_text("new")
            assert (bundle / MANIFEST).is_file()
        assert [path.name for path in bundle.iterdir()] == ["file"]
        assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]

    def test_without_force(self, bundle: Path) -> None:
        with pytest.raises(BundleError, match=r"exists already\. Pass --force"):
            replace_folder(bundle).__enter__()
        verify_files(bundle, read_manifest(bundle))

    def test_force_spares_what_is_no_bundle(self, tmp_path: Path) -> None:
        precious = tmp_path / "home"
        precious.mkdir()
        (precious / "letter").write_text("dear")
        for target in (precious, precious / "letter"):
            with pytest.raises(BundleError, match="is not a bundle"):
                replace_folder(target, force=True).__enter__()
        assert (precious / "letter").read_text() == "dear"

    def test_force_spares_another_tools_manifest(self, tmp_path: Path) -> None:
        extension = tmp_path / "extension"
        extension.mkdir()
        for text in ('{"manifest_version": 3, "name": "mine"}', "no JSON", '{"schema_version": 2}'):
            (extension / MANIFEST).write_text(text)
            with pytest.raises(BundleError, match="is not a bundle"):
                replace_folder(extension, force=True).__enter__()
            assert (extension / MANIFEST).read_text() == text

    def test_files_beside_the_bundle_are_carried_over(self, bundle: Path) -> None:
        (bundle / "letter").write_text("dear")
        with replace_folder(bundle, force=True) as work:
            (work / "file").write_text("new")
        assert {path.name: path.read_text() for path in bundle.iterdir()} == {
            "file": "new",
            "letter": "dear",
        }

    def test_files_that_arrive_meanwhile_are_carried_over(self, bundle: Path) -> None:
        with replace_folder(bundle, force=True) as work:
            (work / "file").write_text("new")
            (bundle / "letter").write_text("dear")
        assert (bundle / "letter").read_text() == "dear"

    def test_a_file_beside_the_bundle_is_in_the_way(self, bundle: Path) -> None:
        (bundle / "letter").write_text("dear")
        with (
            pytest.raises(BundleError, match="holds a file letter that is not the bundle's"),
            replace_folder(bundle, force=True) as work,
        ):
            (work / "letter").write_text("new")
        assert (bundle / "letter").read_text() == "dear"
        verify_files(bundle, read_manifest(bundle))

    def test_a_link_stays_and_what_it_names_is_replaced(self, bundle: Path) -> None:
        link = bundle.parent / "current"
        link.symlink_to(bundle.name)
        with replace_folder(link, force=True) as work:
            (work / "file").write_text("new")
        assert link.is_symlink()
        assert [path.name for path in bundle.iterdir()] == ["file"]

    def test_a_link_to_nowhere_gets_its_folder(self, tmp_path: Path) -> None:
        link = tmp_path / "current"
        link.symlink_to("version-1")
        with replace_folder(link) as work:
            (work / "file").write_text("new")
        assert (tmp_path / "version-1" / "file").read_text() == "new"

    def test_what_appeared_meanwhile_is_spared(self, tmp_path: Path) -> None:
        target = tmp_path / "bundle"
        block = replace_folder(target)
        block.__enter__()
        target.mkdir()
        (target / "letter").write_text("dear")
        with pytest.raises(BundleError, match="exists already"):
            block.__exit__(None, None, None)
        assert (target / "letter").read_text() == "dear"
        assert [path.name for path in tmp_path.iterdir()] == ["bundle"]

    def test_the_folder_of_this_process(
        self, bundle: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (bundle / "deep").mkdir()
        monkeypatch.chdir(bundle / "deep")
        with pytest.raises(BundleError, match="is the folder that this command runs in"):
            replace_folder(Path(".."), force=True).__enter__()
        verify_files(bundle, read_manifest(bundle))

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
    def test_failure_inside_keeps_the_old(self, bundle: Path, error: type[BaseException]) -> None:
        with pytest.raises(error):
            fail_inside(bundle, error)
        verify_files(bundle, read_manifest(bundle))
        assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]

    def test_failure_inside_leaves_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="inside"):
            fail_inside(tmp_path / "x", ValueError)
        assert list(tmp_path.iterdir()) == []

    def test_failure_removes_the_folders_that_were_made_for_it(self, tmp_path: Path) -> None:
        (tmp_path / "there").mkdir()
        with pytest.raises(ValueError, match="inside"):
            fail_inside(tmp_path / "there" / "deep" / "deeper" / "x", ValueError)
        assert list(tmp_path.rglob("*")) == [tmp_path / "there"]

    def test_failure_spares_what_came_into_those_folders(self, tmp_path: Path) -> None:
        def work() -> None:
            with replace_folder(tmp_path / "deep" / "bundle"):
                (tmp_path / "deep" / "letter").write_text("dear")
                raise ValueError

        with pytest.raises(ValueError):  # noqa: PT011
            work()
        assert list(tmp_path.rglob("*")) == [tmp_path / "deep", tmp_path / "deep" / "letter"]

    @pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
    def test_a_name_that_no_folder_has(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(BundleError, match="cannot be written: expected a folder"):
            replace_folder(tmp_path / "deep" / name).__enter__()
        assert list(tmp_path.iterdir()) == []

    def test_the_swap_itself_fails(self, bundle: Path) -> None:
        """The new folder vanished before it could take the old one's place."""
        with pytest.raises(FileNotFoundError), replace_folder(bundle, force=True) as work:
            work.rmdir()
        assert read_manifest(bundle) == make_manifest(bundle)
        assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]

    def test_nothing_can_be_made_there(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        target = tmp_path / "file" / "deep" / "bundle"
        with pytest.raises(BundleError, match="cannot be written"):
            replace_folder(target).__enter__()
