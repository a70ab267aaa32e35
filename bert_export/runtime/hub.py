"""Bundles of the Hugging Face hub, by the optional package ``huggingface_hub``."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bert_export.bundle import MANIFEST, read_manifest
from bert_export.errors import BundleError, MissingExtraError
from bert_export.foreign_errors import what_a_hub_says

__all__ = ["fetch_bundle", "find_bundle", "hub_bars", "is_hub_id"]

_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?", re.ASCII)


@contextmanager
def hub_bars() -> Iterator[None]:
    """Bars of the hub's library on a terminal; none in a file, where a bar is many lines."""
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    silenced = not (
        are_progress_bars_disabled() or (sys.stderr is not None and sys.stderr.isatty())
    )
    if silenced:
        disable_progress_bars()
    try:
        yield
    finally:
        if silenced:
            enable_progress_bars()


def is_hub_id(text: str) -> bool:
    """Whether a text has the form ``owner/name`` or ``owner/name@revision``."""
    return _ID.fullmatch(text) is not None


def find_bundle(path: str | os.PathLike[str]) -> Path:
    """The folder of a bundle: the path itself, or where its hub id was fetched to.

    A path that exists, or has not the form of a hub id, is returned as it is.

    Raises:
        BundleError: The hub has no such bundle, or cannot be reached and its cache has none.
        MissingExtraError: ``huggingface_hub`` is not installed.
    """
    folder = Path(path)
    if not isinstance(path, str) or not is_hub_id(path) or os.path.lexists(folder):
        return folder
    return fetch_bundle(path)


def fetch_bundle(hub_id: str) -> Path:
    """Download a bundle's files, or find them in the hub's cache.

    Args:
        hub_id: ``owner/name``, or ``owner/name@revision`` with a branch, a tag or a commit.

    Returns:
        The folder of the files that its manifest lists.

    Raises:
        BundleError: The hub has no such bundle, or cannot be reached and its cache has none.
        MissingExtraError: ``huggingface_hub`` is not installed.
    """
    try:
        from huggingface_hub import hf_hub_download, snapshot_download
    except ImportError as error:
        raise MissingExtraError(
            f"bundle {hub_id}, which is no folder here, of the Hugging Face hub", extra="hub"
        ) from error
    name, _, revision = hub_id.partition("@")
    try:
        # The commit of the manifest, so that all files are of one.
        with hub_bars():
            manifest = Path(hf_hub_download(name, MANIFEST, revision=revision or None))
    except Exception as error:  # each HTTP library below has its own tree
        raise BundleError(
            f"bundle {hub_id} is no folder here and cannot be fetched from the Hugging Face hub",
            expected=f"a repository with {MANIFEST}",
            got=what_a_hub_says(error),
            fix="Give a folder, check the name, or log in if the bundle is private",
        ) from error
    files = [MANIFEST, *read_manifest(manifest.parent).files]
    try:
        with hub_bars():
            folder = snapshot_download(name, revision=manifest.parent.name, allow_patterns=files)
    except Exception as error:  # the same
        raise BundleError(
            f"bundle {hub_id} cannot be fetched whole from the Hugging Face hub",
            expected=", ".join(files),
            got=what_a_hub_says(error),
        ) from error
    return Path(folder)
