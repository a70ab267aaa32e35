"""A bundle is read back as it was written, and anything else is refused by name."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bert_export.bundle import (
    MANIFEST,
    SCHEMA_VERSION,
    FileRecord,
    Manifest,
    hash_file,
    read_manifest,
    verify_files,
    write_manifest,
)
from bert_export.errors import BundleError
from tests.bundle.small import FILES, make_manifest
from tests.support import built_record

GRAPH = ("engines", 0, "graph")


def make_sparse(path: Path) -> None:
    """A file of a terabyte that takes no space."""
    path.touch()
    os.truncate(path, 1 << 40)


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

    @pytest.mark.parametrize("make", [os.mkfifo, make_sparse])
    def test_a_manifest_that_has_no_end(
        self, tmp_path: Path, make: Callable[[Path], object]
    ) -> None:
        make(tmp_path / MANIFEST)
        with pytest.raises(BundleError, match=r"has no manifest|has 1,099,511,627,776 bytes"):
            read_manifest(tmp_path)

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

    @pytest.mark.parametrize("hashes", [True, False])
    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (os.mkfifo, "cannot be read: expected a regular file .* got a FIFO"),
            (lambda path: path.symlink_to("/dev/zero"), "cannot be read: .* got a device"),
            (make_sparse, "wrong size: .* got 1099511627776 bytes"),
        ],
    )
    def test_what_has_no_end_is_refused_at_once(
        self, bundle: Path, make: Callable[[Path], object], message: str, *, hashes: bool
    ) -> None:
        manifest = read_manifest(bundle)
        (bundle / "weights.data").unlink()
        make(bundle / "weights.data")
        with pytest.raises(BundleError, match=message):
            verify_files(bundle, manifest, hashes=hashes)

    def test_without_hashes_no_file_is_read(self, bundle: Path) -> None:
        manifest = read_manifest(bundle)
        (bundle / "weights.data").write_bytes(bytes(len(FILES["weights.data"])))
        verify_files(bundle, manifest, hashes=False)
        with pytest.raises(BundleError, match="wrong sha256"):
            verify_files(bundle, manifest)
        (bundle / "weights.data").unlink()
        with pytest.raises(BundleError, match="lacks the file"):
            verify_files(bundle, manifest, hashes=False)

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
