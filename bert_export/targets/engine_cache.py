"""Engines that were built once are taken from here, as long as nothing that made them changed."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bert_export.bundle import hash_file, write_whole
from bert_export.errors import InputError, one_line
from bert_export.targets.profiles import Profile
from bert_export.targets.weights import WEIGHTS_FILE

__all__ = ["CACHE_VARIABLE", "EngineCache", "default_cache_folder", "engine_key"]

CACHE_VARIABLE = "BERT_EXPORT_CACHE"
"""Environment variable: the folder of the cache."""

_SAID = frozenset({"attention_layers", "device_memory", "seconds", "warnings"})
"""What a builder says of every engine."""


def default_cache_folder() -> Path:
    """Where engines are kept: :data:`CACHE_VARIABLE`, or the user's cache folder."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named) if named else _users_folder()


def _users_folder() -> Path:
    """The user's cache folder; one of temporary files for a user without a home."""
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        cache = Path(base) if base else Path.home() / ".cache"
    except RuntimeError:  # neither $HOME nor an account
        cache = Path(tempfile.gettempdir()) / f"cache-{os.getuid()}"
    return cache / "bert-export" / "engines"


def engine_key(
    graph: Path,
    *,
    builder: str,
    built_for: Sequence[str],
    profiles: Sequence[Profile],
) -> str:
    """Hash of all that an engine depends on (hex).

    Args:
        graph: The graph file, whose bytes count, and those of the weights beside it.
        builder: Module and version.
        built_for: Compute capabilities, or name and driver of this machine's GPU.
        profiles: In order.
    """
    weights = graph.with_name(WEIGHTS_FILE)
    facts = {
        "graph": hash_file(graph).sha256,
        "weights": hash_file(weights).sha256 if weights.is_file() else None,
        "builder": builder,
        "built_for": list(built_for),
        "profiles": [profile.record() for profile in profiles],
        "strongly_typed": True,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


class EngineCache:
    """A folder of engines, each with what its builder said; several processes may share it.

    Args:
        folder: Made before the first engine is built.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, key: str) -> tuple[bytes, dict[str, Any]] | None:
        """The engine of a key and what its builder said; ``None`` where it is not whole."""
        try:
            said = json.loads(self._said(key).read_bytes())
            plan = self._plan(key).read_bytes()
        except (OSError, ValueError):  # not there, or cut off by a full disk
            return None
        if not isinstance(said, dict) or said.pop("sha256", None) != _sha256(plan):
            return None
        return (plan, said) if said.keys() == _SAID else None

    def prepare(self) -> None:
        """Make the folder, ahead of a build whose engine could not be kept.

        Raises:
            InputError: It cannot be made, and the user named it.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if self.folder == _users_folder():
                return
            raise InputError(
                f"engine cache {self.folder} cannot be made",
                expected="a folder that can be made",
                got=one_line(error),
                fix=f"Name another with --engine-cache or {CACHE_VARIABLE}",
            ) from error

    def write(self, key: str, plan: bytes, said: Mapping[str, Any]) -> None:
        """Keep an engine; a reader sees it whole or not at all.

        Warns:
            RuntimeWarning: The disk does not let it be kept; it was built, and is no worse for it.
        """
        record = dict(said) | {"sha256": _sha256(plan)}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(self._plan(key), plan)
            write_whole(self._said(key), json.dumps(record, sort_keys=True).encode())
        except OSError as error:
            warnings.warn(
                f"engine cache {self.folder} cannot be written: got {one_line(error)}. The next "
                "build takes as long.",
                RuntimeWarning,
                stacklevel=2,
            )

    def _plan(self, key: str) -> Path:
        return self.folder / f"{key}.engine"

    def _said(self, key: str) -> Path:
        return self.folder / f"{key}.json"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
