"""Reading and writing a bundle's manifest, and comparing its files with their recorded hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from bert_export.bundle.older_schemas import OLDEST_VERSION, upgrade
from bert_export.bundle.schema import SCHEMA_VERSION, FileRecord, Manifest
from bert_export.errors import BundleError
from bert_export.regular_files import check_regular, open_regular, read_regular

__all__ = [
    "MALFORMED",
    "MANIFEST",
    "MOST_MANIFEST",
    "WEIGHTS_FILE",
    "hash_file",
    "read_manifest",
    "verify_files",
    "write_manifest",
]

MANIFEST = "manifest.json"
WEIGHTS_FILE = "weights.data"
MOST_MANIFEST = 1 << 26
"""Bytes that a manifest may have; those of the largest models have less than a hundredth."""
_CHUNK = 1 << 20

MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What bytes that are no JSON of the schema raise; deep nesting exhausts the parser's stack."""


class _Version(msgspec.Struct):
    schema_version: int


def hash_file(path: Path) -> FileRecord:
    """Size and sha256 of a regular file, read in chunks.

    Raises:
        OSError: It is a FIFO, a device and the like, or cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    with open_regular(path) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return FileRecord(bytes=size, sha256=digest.hexdigest())


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``manifest.json`` into a folder: two-space indents, one final newline."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    (folder / MANIFEST).write_bytes(text + b"\n")


def read_manifest(folder: Path) -> Manifest:
    """Read and check ``manifest.json`` (the files' hashes are :func:`verify_files`'s work).

    Raises:
        BundleError: There is no manifest, it is not JSON of its version's schema, or it names a
            file outside the folder, a default target that it does not serve, rows longer than the
            model takes, or more or fewer labels than a graph scores.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(
            f"bundle {folder} has no {MANIFEST}",
            expected="a folder written by bert-export",
            got="a folder without it" if folder.is_dir() else "no such folder",
        )
    try:
        text = read_regular(path, most=MOST_MANIFEST)
    except OSError as error:
        raise _unreadable(folder, MANIFEST, error) from error
    try:
        version = msgspec.json.decode(text, type=_Version).schema_version
    except MALFORMED as error:
        raise BundleError(
            f"bundle {folder} has a malformed {MANIFEST}",
            expected="JSON with a schema_version",
            got=error,
            fix="Export the bundle again",
        ) from error
    if not OLDEST_VERSION <= version <= SCHEMA_VERSION:
        raise BundleError(
            f"bundle {folder} has another schema version",
            expected=f"{OLDEST_VERSION} to {SCHEMA_VERSION}",
            got=version,
            fix="Upgrade bert-export" if version > SCHEMA_VERSION else "Export the bundle again",
        )
    try:
        manifest = _parse(text, version)
    except MALFORMED as error:
        raise BundleError(
            f"bundle {folder} has a malformed {MANIFEST}",
            expected=f"schema version {version}",
            got=error,
            fix="Export the bundle again",
        ) from error
    for name in (*_named_files(manifest), *manifest.files):
        if name in ("", ".", "..") or Path(name).name != name:
            raise BundleError(
                f"bundle {folder} names a file outside its folder",
                expected="a plain name",
                got=repr(name),
            )
    manifest.engine()
    _check_sizes(folder, manifest)
    return manifest


def _parse(text: bytes, version: int) -> Manifest:
    """The manifest that a text of that version holds.

    Raises:
        msgspec.DecodeError: The text is not of its version's schema.
    """
    if version == SCHEMA_VERSION:
        return msgspec.json.decode(text, type=Manifest)
    older = msgspec.json.decode(text, type=dict[str, Any])
    try:
        newer = upgrade(older, version)
    except (AttributeError, KeyError, TypeError) as error:
        raise msgspec.ValidationError(f"a field is missing or of another type: {error}") from error
    return msgspec.convert(newer, type=Manifest)


def _check_sizes(folder: Path, manifest: Manifest) -> None:
    """Rows and labels are those of the model, or answers would be wrong far from here."""
    longest = manifest.model.max_position_embeddings
    if not 2 <= manifest.tokenizer.max_length <= longest:
        raise BundleError(
            f"bundle {folder} has rows of a length that its model does not take",
            expected=f"a max_length of 2 to {longest}",
            got=manifest.tokenizer.max_length,
            fix="Export the bundle again",
        )
    for engine in manifest.engines:
        for output in engine.graph.outputs:
            scored = output.shape[-1] if output.name == "logits" else None
            if manifest.labels and isinstance(scored, int) and scored != len(manifest.labels):
                raise BundleError(
                    f"bundle {folder} has other labels than its graph for {engine.target}",
                    expected=f"{scored} labels",
                    got=len(manifest.labels),
                    fix="Export the bundle again",
                )


def _named_files(manifest: Manifest) -> Iterator[str]:
    """Files that an entry of the manifest reads by name."""
    yield manifest.tokenizer.file
    for engine in manifest.engines:
        yield from engine.files


def verify_files(folder: Path, manifest: Manifest, *, hashes: bool = True) -> None:
    """Compare every file of the bundle with its recorded size and sha256.

    Args:
        folder: The bundle's.
        manifest: What is recorded.
        hashes: Whether the files are read; without it only kind and size are compared.

    Raises:
        BundleError: A file is missing, truncated, altered or not a regular file, or a graph or the
            tokenizer is not among the files.
    """
    for name in _named_files(manifest):
        if name not in manifest.files:
            raise BundleError(
                f"bundle {folder} does not list the file {name}",
                expected="its size and sha256",
                got="none",
                fix="Export the bundle again",
            )
    for name, record in manifest.files.items():
        try:
            size = check_regular(folder / name)  # a file of another size is not read to its end
            found = hash_file(folder / name) if hashes and size == record.bytes else None
        except FileNotFoundError:
            raise BundleError(
                f"bundle {folder} lacks the file {name}", fix="Export or copy the bundle again"
            ) from None
        except (OSError, ValueError) as error:
            raise _unreadable(folder, name, error) from error
        if size != record.bytes:
            raise _differs(folder, name, "size", f"{record.bytes} bytes", f"{size} bytes")
        if found is not None and found != record:
            raise _differs(folder, name, "sha256", record.sha256, found.sha256)


def _differs(folder: Path, name: str, what: str, expected: str, got: str) -> BundleError:
    return BundleError(
        f"bundle {folder} file {name} has the wrong {what}",
        expected=expected,
        got=got,
        fix="Export or copy the bundle again",
    )


def _unreadable(folder: Path, name: str, error: Exception) -> BundleError:
    return BundleError(
        f"bundle {folder} file {name} cannot be read",
        expected="a regular file that may be read",
        got=getattr(error, "strerror", None) or str(error),
    )
