"""Sessions: every engine behind one interface, imported when it is opened."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from bert_export.bundle import EngineRecord
from bert_export.errors import InputError
from bert_export.runtime.sessions.session import Session

__all__ = ["SESSIONS", "open_session", "takes"]

SESSIONS: Mapping[str, tuple[str, frozenset[str]]] = {
    "onnxruntime": ("onnxruntime", frozenset({"threads", "providers"})),
    "onnxruntime-cuda": ("onnxruntime_gpu", frozenset({"threads"})),
    "onnxruntime-tensorrt": ("onnxruntime_gpu", frozenset({"threads"})),
    "openvino": ("openvino", frozenset({"threads", "hint", "cache", "shapes"})),
    "tensorrt": ("tensorrt", frozenset()),
    "tensorrt-rtx": ("tensorrt", frozenset()),
}
"""By target: the module below this package whose ``open_engine`` opens it, and its options."""


def takes(target: str, option: str) -> bool:
    """Whether a target's session has an option; one that cannot be run has none."""
    return target in SESSIONS and option in SESSIONS[target][1]


def open_session(folder: Path, engine: EngineRecord, **options: Any) -> Session:
    """Open an engine of a bundle.

    Args:
        folder: Of the bundle.
        engine: The bundle's entry.
        options: Of the session, such as ``threads``; ``None`` leaves the engine's default.

    Raises:
        InputError: The target has no session, or does not know an option.
        MissingExtraError: The engine's package is not installed.
        BundleError: The engine cannot read the graph.
    """
    target = engine.target
    if target not in SESSIONS:
        raise InputError(
            f"target {target} cannot be run", expected=f"one of {', '.join(SESSIONS)}", got=target
        )
    module, known = SESSIONS[target]
    given = {name: value for name, value in options.items() if value is not None}
    for name in sorted(given.keys() - known):
        raise InputError(
            f"option {name} means nothing to target {target}",
            expected=f"some of {', '.join(sorted(known))}" if known else "no option",
            got=f"{name}={given[name]}",
        )
    opener = import_module(f"bert_export.runtime.sessions.{module}")
    return cast("Session", opener.open_engine(folder, engine, **given))
