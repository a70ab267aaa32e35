"""What stands in a bundle's folder beside graphs and weights: the tokenizer and the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from bert_export.bundle import (
    MANIFEST,
    EngineRecord,
    FileRecord,
    Manifest,
    hash_file,
    write_manifest,
)
from bert_export.exporter.manifest_records import TOKENIZER_FILE
from bert_export.exporter.progress import Progress
from bert_export.exporter.source import Source

__all__ = ["hash_files", "write_bundle", "write_tokenizer"]


def hash_files(folder: Path) -> dict[str, FileRecord]:
    """What a manifest says of every other file of its folder."""
    return {
        path.name: hash_file(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST
    }


def write_tokenizer(folder: Path, source: Source) -> None:
    """Write the tokenizer's file."""
    (folder / TOKENIZER_FILE).write_text(source.checkpoint.tokenizer.json, encoding="utf-8")


def write_bundle(
    folder: Path, records: Sequence[EngineRecord], source: Source, progress: Progress
) -> Manifest:
    """Write what stands beside graphs, weights and tokenizer: the manifest.

    Args:
        folder: With all other files.
        records: Of the engines, the default's first.
        source: Of the export.
        progress: Of the export; its stages so far stand in the manifest.
    """
    manifest = msgspec.structs.replace(
        source.manifest,
        default_target=records[0].target,
        engines=tuple(records),
        files=hash_files(folder),
        stages=progress.seconds(),
    )
    write_manifest(folder, manifest)
    return manifest
