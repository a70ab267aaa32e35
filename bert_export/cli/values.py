"""The kinds of values that options take: checked while they are parsed, completed by the shell.

What is checked here needs nothing heavy, so that a slip is answered at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from bert_export.bundle import AUTO, INT8_MODES, OBSERVER_NAMES, OPSETS
from bert_export.cli.console import usage_errors
from bert_export.demonstration_table import check_demonstration_name, demonstration_names
from bert_export.errors import InputError, one_of, shown
from bert_export.hand_over.names import CONSUMER_NAMES
from bert_export.runtime.processor import PROCESSORS
from bert_export.target_table import PRECISIONS, TARGETS, check_precision, find_target
from bert_export.tasks import ALIASES, TASKS, find_task

if TYPE_CHECKING:  # only newer versions of click say what a kind of value gives
    StringKind = click.ParamType[Any]
else:
    StringKind = click.ParamType

__all__ = [
    "BUNDLE",
    "CALIBRATION",
    "CONSUMER",
    "DATA",
    "INT8_MODE",
    "MODEL",
    "OBSERVER",
    "OPSET",
    "PRECISION",
    "PRECISION_LIST",
    "PRECISION_OR_AUTO",
    "PROCESSOR",
    "TARGET",
    "TARGET_LIST",
    "TARGET_OR_AUTO",
    "TASK",
    "StringKind",
    "check_name",
]


def check_name(kind: str, known: Iterable[str]) -> Callable[[str], str]:
    """A check that a name is one of those that there are.

    Args:
        kind: What is named, for the error.
        known: The names.
    """
    names = tuple(known)

    def check(name: str) -> str:
        if name not in names:
            raise InputError(f"{kind} {shown(name)} is unknown", **one_of(name, names))
        return name

    return check


class Named(StringKind):
    """A name out of a table.

    Args:
        name: Of the kind, as help and errors show it.
        known: Names with a word on each, for completion.
        check: Gives the name as the library has it, or raises a BertExportError.
        others: Names that are understood, and completed where one of them is being typed.
        listed: Whether several may stand with commas between them.
    """

    def __init__(
        self,
        name: str,
        known: Mapping[str, str],
        check: Callable[[str], str],
        *,
        others: Mapping[str, str] | None = None,
        listed: bool = False,
    ) -> None:
        self.name = name
        self._known = known
        self._check = check
        self._others = {} if others is None else others
        self._listed = listed

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        with usage_errors():
            if self._listed:
                parts = value if isinstance(value, tuple) else value.split(",")
                return tuple(self._check(part.strip()) for part in parts if part.strip())
            return self._check(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The names that begin so; of a list the last one is being typed."""
        before, comma, last = incomplete.rpartition(",") if self._listed else ("", "", incomplete)
        found = {name: help_ for name, help_ in self._known.items() if name.startswith(last)}
        if last and not found:
            found = {name: help_ for name, help_ in self._others.items() if name.startswith(last)}
        return [
            CompletionItem(f"{before}{comma}{name}", help=help_) for name, help_ in found.items()
        ]


class _Model(StringKind):
    """A folder, a hub id, ``demo`` or ``demo:NAME``."""

    name = "model"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value.startswith(_DEMO) and not Path(value).exists():
            with usage_errors():
                check_demonstration_name(value.removeprefix(_DEMO))
        return value

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Demonstrations, and folders."""
        names = ["demo", *(f"{_DEMO}{name}" for name in demonstration_names())]
        found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
        return found if found and incomplete else [*found, CompletionItem(incomplete, type="dir")]


class _Data(StringKind):
    """A data file, or a built-in set where the option takes one."""

    name = "file"

    def __init__(self, *, built_in: bool = False) -> None:
        self._built_in = built_in

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Built-in sets, which are called after their tasks, and files."""
        names = [name for name in TASKS if self._built_in and name.startswith(incomplete)]
        found = [CompletionItem(name) for name in names]
        return found if found and incomplete else [*found, CompletionItem(incomplete, type="file")]


_DEMO = "demo:"
_PRECISION_WORDS = dict.fromkeys(PRECISIONS, "")
_TARGET_WORDS = {target.name: target.summary for target in TARGETS.values()}
_TARGET_AUTO_WORDS = _TARGET_WORDS | {AUTO: "the fastest that is installed here"}
_PRECISION_AUTO_WORDS = _PRECISION_WORDS | {AUTO: "the fastest that keeps --max-drop"}


def _target(name: str) -> str:
    return find_target(name).name


TASK = Named(
    "task",
    {task.name: task.summary for task in TASKS.values()},
    lambda name: find_task(name).name,
    others={alias: task.name for alias, task in ALIASES.items()},
)
TARGET = Named("target", _TARGET_WORDS, _target)
TARGET_OR_AUTO = Named("target", _TARGET_AUTO_WORDS, check_name("target", _TARGET_AUTO_WORDS))
TARGET_LIST = Named("a,b", _TARGET_WORDS, _target, listed=True)
PRECISION = Named("precision", _PRECISION_WORDS, check_precision)
PRECISION_OR_AUTO = Named(
    "precision", _PRECISION_AUTO_WORDS, check_name("precision", _PRECISION_AUTO_WORDS)
)
PRECISION_LIST = Named("a,b", _PRECISION_WORDS, check_precision, listed=True)
INT8_MODE = Named("mode", dict.fromkeys(INT8_MODES, ""), check_name("int8-mode", INT8_MODES))
OBSERVER = Named(
    "method", dict.fromkeys(OBSERVER_NAMES, ""), check_name("calibration-method", OBSERVER_NAMES)
)
PROCESSOR = Named("kind", dict.fromkeys(PROCESSORS, ""), check_name("cpu", PROCESSORS))
CONSUMER = Named("tool", CONSUMER_NAMES, check_name("consumer", CONSUMER_NAMES))
OPSET = click.IntRange(OPSETS.start, OPSETS.stop - 1)
MODEL = _Model()
BUNDLE = click.Path(path_type=str)
"""A bundle's folder; whether it is there is for the library to say."""

DATA = _Data()
CALIBRATION = _Data(built_in=True)
