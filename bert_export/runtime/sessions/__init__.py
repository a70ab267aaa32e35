"""Sessions: every engine behind one interface, imported when it is opened."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TypedDict, Unpack, cast

from msgspec.structs import replace

from bert_export.bundle import EngineRecord, GraphRecord
from bert_export.errors import InputError
from bert_export.runtime.sessions.encoder_decoder import open_halves
from bert_export.runtime.sessions.session import Session
from bert_export.target_table import TARGETS

__all__ = ["SessionOptions", "has_option", "open_session", "open_text_session"]


class SessionOptions(TypedDict, total=False):
    """Options of all sessions; a target's row says which of them its session has.

    ``None`` leaves an option to the engine. The sessions' own functions say what each means.
    """

    threads: int | None
    providers: str | Sequence[str] | None
    hint: str | None
    cache: str | Path | None
    shapes: Sequence[Sequence[int]] | None


def has_option(target: str, option: str) -> bool:
    """Whether a target's session has an option; an unknown target has none."""
    return target in TARGETS and option in TARGETS[target].session_options


def open_session(
    folder: Path,
    engine: EngineRecord,
    *,
    longest: int | None = None,
    **options: Unpack[SessionOptions],
) -> Session:
    """Open an engine of a bundle.

    Args:
        folder: Of the bundle.
        engine: The bundle's entry.
        longest: Tokens of a row at most; ``None`` where that is not known.
        options: Of the session; ``None`` leaves the engine's default.

    Raises:
        InputError: The target has no session, or its session does not have an option.
        MissingExtraError: The engine's package is not installed.
        BundleError: The engine cannot read the graph.
    """
    if engine.target not in TARGETS:
        raise InputError(
            f"target {engine.target} cannot be run",
            expected=f"one of {', '.join(TARGETS)}",
            got=engine.target,
        )
    target = TARGETS[engine.target]
    given = {name: value for name, value in options.items() if value is not None}
    for name in sorted(given.keys() - set(target.session_options)):
        known = ", ".join(sorted(target.session_options))
        raise InputError(
            f"option {name} means nothing to target {target.name}",
            expected=f"some of {known}" if known else "no option",
            got=f"{name}={given[name]}",
        )
    module, function = target.session.split(":")
    opener = getattr(import_module(f"bert_export.runtime.sessions.{module}"), function)

    def open_graph(graph: GraphRecord) -> Session:
        session = cast("Session", opener(folder, replace(engine, graph=graph), **given))
        session.longest = longest
        return session

    return open_halves(engine.graph, open_graph)


def open_text_session(
    folder: Path, engine: EngineRecord, **options: Unpack[SessionOptions]
) -> Session:
    """Open the graph of an engine that takes texts.

    Args:
        folder: Of the bundle.
        engine: The bundle's entry.
        options: Of the session, as :func:`open_session` takes them.

    Raises:
        InputError: The bundle has no such graph for that engine.
        BundleError: The engine cannot read the graph.
    """
    target = TARGETS[engine.target]
    if engine.text is None or target.text_session is None:
        able = [name for name, other in TARGETS.items() if other.text_session is not None]
        raise InputError(
            f"bundle has no graph for {engine.target} that takes texts",
            expected=f"one exported with --text-input for {' or '.join(able)}",
            got="none",
            fix="Call the pipeline itself with texts, or export again with --text-input",
        )
    module, function = target.text_session.split(":")
    opener = getattr(import_module(f"bert_export.runtime.sessions.{module}"), function)
    given = {name: value for name, value in options.items() if value is not None}
    return cast("Session", opener(folder, engine, **given))
