"""The kinds of hostile input, each imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module

from tests.fuzz.frame import Fuzz

__all__ = ["KINDS"]


def _load(module: str, name: str) -> type[Fuzz]:
    kind: type[Fuzz] = getattr(import_module(f"tests.fuzz.{module}"), name)
    return kind


KINDS: Mapping[str, Callable[[], type[Fuzz]]] = {
    "texts": partial(_load, "texts", "Texts"),
    "bundles": partial(_load, "bundles", "Bundles"),
    "checkpoints": partial(_load, "checkpoints", "Checkpoints"),
    "kills": partial(_load, "killed_exports", "Kills"),
}
