"""Which of a bundle's engines answers on this machine.

Where a target is named, that one. Else the bundle's default, with two exceptions between engines
for the processor, of the default's precision, that were verified, have the options of the call and,
where the default has it, a graph that takes texts:

- one that was measured ahead of the others on this kind of machine answers instead, unless
  the default was itself found by measurement (``--target auto``);
- where the default cannot run here, the first that can answers in its place.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from importlib import import_module
from importlib.util import find_spec
from typing import Literal, cast

from bert_export.bundle import EngineRecord, Manifest
from bert_export.target_table import TARGETS, Target

__all__ = ["Standing", "choose_engine", "find_standing"]

Standing = Literal["ahead", "able", "unbuilt", "absent"]
"""Of a target on this machine: measured ahead of every other, able to run, ahead if only it were
built or installed, or not there."""

_CANNOT_RUN = ("unbuilt", "absent")

_LOGGER = logging.getLogger(__name__)


def choose_engine(
    manifest: Manifest, target: str | None, *, options: Collection[str] = ()
) -> EngineRecord:
    """The entry of a bundle that answers here.

    Args:
        manifest: Of the bundle.
        target: That is named, or ``None``.
        options: Names of the session's options that are given; only engines that have all of them
            answer in place of the default.

    Raises:
        BundleError: The bundle does not serve the target.
    """
    default = manifest.engine(target)
    if target is not None or not _on_processor(default):
        return default
    equals = [
        engine
        for engine in manifest.engines
        if engine is default or _replaces(engine, default, options)
    ]
    if len(equals) == 1:
        return default
    standings = {engine.target: find_standing(TARGETS[engine.target]) for engine in equals}
    able = [engine for engine in equals if standings[engine.target] not in _CANNOT_RUN]
    if manifest.auto_target is None:
        able = [engine for engine in able if standings[engine.target] == "ahead"] or able
    chosen = default if default in able or not able else able[0]
    if chosen is not default:
        _LOGGER.info(
            "target %s answers: %s is %s here",
            chosen.target,
            default.target,
            standings[default.target],
        )
    return chosen


def _replaces(engine: EngineRecord, default: EngineRecord, options: Collection[str]) -> bool:
    """Whether an engine may answer in place of the default."""
    return (
        _on_processor(engine)
        and engine.precision == default.precision
        and engine.parity is not None
        and (engine.text is not None or default.text is None)
        and set(options) <= set(TARGETS[engine.target].session_options)
    )


def _on_processor(engine: EngineRecord) -> bool:
    return engine.target in TARGETS and not TARGETS[engine.target].gpu


def find_standing(target: Target) -> Standing:
    """How a target for the processor stands on this machine."""
    where = target.standing
    if where is None:  # engines for the processor are packages that are called as their module
        return "absent" if find_spec(target.packages[0]) is None else "able"
    module, function = where.split(":")
    found = getattr(import_module(f"bert_export.runtime.sessions.{module}"), function)
    return cast("Standing", found())
