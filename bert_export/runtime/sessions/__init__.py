"""Sessions: every engine behind one interface, imported when it is opened."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from bert_export.errors import InputError
from bert_export.runtime.sessions.session import Session

__all__ = ["SESSIONS", "open_session"]

SESSIONS: Mapping[str, tuple[str, frozenset[str]]] = {
    "onnxruntime": ("onnxruntime:OnnxRuntimeSession", frozenset({"threads", "providers"})),
}
"""By target: module and class below this package, and the options that it takes."""


def open_session(target: str, path: Path, **options: Any) -> Session:
    """Open a graph file with its target's engine.

    Args:
        target: Of the bundle's entry.
        path: Its graph file.
        options: Of the session, such as ``threads``; ``None`` leaves the engine's default.

    Raises:
        InputError: The target has no session, or does not know an option.
        MissingExtraError: The engine's package is not installed.
        BundleError: The engine cannot read the graph.
    """
    if target not in SESSIONS:
        raise InputError(
            f"target {target} cannot be run", expected=f"one of {', '.join(SESSIONS)}", got=target
        )
    place, known = SESSIONS[target]
    given = {name: value for name, value in options.items() if value is not None}
    for name in sorted(given.keys() - known):
        raise InputError(
            f"option {name} means nothing to target {target}",
            expected=f"some of {', '.join(sorted(known))}",
            got=f"{name}={given[name]}",
        )
    module, name = place.split(":")
    session = getattr(import_module(f"bert_export.runtime.sessions.{module}"), name)
    return cast("Session", session(path, **given))
