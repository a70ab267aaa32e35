"""A cache of built engines, each found by the hash of everything that it was built from."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bert_export.bundle import hash_file, write_whole
from bert_export.errors import InputError, one_line
from bert_export.targets.profiles import Profile
from bert_export.targets.weights import WEIGHTS_FILE

__all__ = ["CACHE_VARIABLE", "BuildFacts", "EngineCache", "default_cache_folder", "engine_key"]

CACHE_VARIABLE = "BERT_EXPORT_CACHE"
"""Environment variable: the folder of the cache."""


class BuildFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a builder tells of an engine.

    Args:
        attention_layers: Layers whose attention the builder recognized as one pattern.
        device_memory: Bytes of activations that the engine needs at its largest shapes.
        seconds: Wall time of the build.
        warnings: Warnings of its log, each once.
    """

    attention_layers: int
    device_memory: int | None
    seconds: float
    warnings: tuple[str, ...]


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file beside a cached engine."""

    facts: BuildFacts
    sha256: str


def default_cache_folder() -> Path:
    """The folder of cached engines: :data:`CACHE_VARIABLE`, or one in the user's cache folder."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named) if named else _users_folder()


def _users_folder() -> Path:
    """The user's cache folder; a temporary one for a user without a home."""
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
        graph: The graph file; its bytes and those of the weights beside it are hashed.
        builder: Module and version of the builder.
        built_for: Compute capabilities, or name and driver of this machine's GPU.
        profiles: The optimization profiles, in order.
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
    """A folder of engines and their :class:`BuildFacts`; several processes may share it.

    Args:
        folder: The folder; it is made before the first engine is built.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, key: str) -> tuple[bytes, BuildFacts] | None:
        """The engine of a key with its facts; ``None`` where there is none, or a damaged one."""
        try:
            entry = msgspec.json.decode(self._facts_file(key).read_bytes(), type=_Entry)
            plan = self._plan_file(key).read_bytes()
        except (OSError, ValueError):  # not there, or cut off by a full disk
            return None
        return (plan, entry.facts) if entry.sha256 == _sha256(plan) else None

    def prepare(self) -> None:
        """Make the folder before the build, so that no engine is built that cannot be kept.

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

    def write(self, key: str, plan: bytes, facts: BuildFacts) -> None:
        """Keep an engine; a reader sees it whole or not at all.

        Warns:
            RuntimeWarning: The folder cannot be written to. The engine itself is built and fine.
        """
        entry = _Entry(facts, _sha256(plan))
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(self._plan_file(key), plan)
            write_whole(self._facts_file(key), msgspec.json.encode(entry))
        except OSError as error:
            warnings.warn(
                f"engine cache {self.folder} cannot be written: got {one_line(error)}. The next "
                "build takes as long.",
                RuntimeWarning,
                stacklevel=2,
            )

    def _plan_file(self, key: str) -> Path:
        return self.folder / f"{key}.engine"

    def _facts_file(self, key: str) -> Path:
        return self.folder / f"{key}.json"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
