"""Options that say what a checkpoint does not say of itself."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click

from bert_export.bundle import CheckpointOptions
from bert_export.cli.option_groups import add_options, option_group
from bert_export.errors import InputError
from bert_export.regular_files import read_regular

__all__ = ["TypedCheckpointOptions", "checkpoint_options", "read_label_names"]

_LARGEST = 1 << 24  # bytes of a file of names
_option = option_group("What the checkpoint does not say")
_OPTIONS = (
    _option(
        "--labels",
        metavar="FILE",
        help="Names of the labels in id order: one a line, or JSON, a list or id2label.",
    ),
    _option(
        "--cased/--uncased",
        "cased",
        default=None,
        help="Whether its vocabulary has capitals; --uncased lower-cases text.",
    ),
    _option(
        "--gelu",
        type=click.Choice(["erf", "tanh"]),
        help="The form that it was trained with; Google's code has tanh since November 2018.",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TypedCheckpointOptions:
    """The options of :func:`checkpoint_options` as typed."""

    labels: str | None
    cased: bool | None
    gelu: Literal["erf", "tanh"] | None

    def read(self) -> CheckpointOptions | None:
        """What they say; ``None`` where none is given.

        Raises:
            InputError: The file of labels cannot be read or holds no names.
        """
        if self.labels is None and self.cased is None and self.gelu is None:
            return None
        return CheckpointOptions(
            labels=() if self.labels is None else read_label_names(Path(self.labels)),
            lower_case=None if self.cased is None else not self.cased,
            gelu=self.gelu,
        )


def checkpoint_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command these options, which reach it as one value, ``checkpoint``."""

    @functools.wraps(command)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        own = TypedCheckpointOptions(
            labels=options.pop("labels"), cased=options.pop("cased"), gelu=options.pop("gelu")
        )
        return command(*arguments, checkpoint=own, **options)

    return add_options(wrapped, _OPTIONS)


def read_label_names(path: Path) -> tuple[str, ...]:
    """Names of labels in id order.

    Args:
        path: A file of one name a line; or of JSON: a list of names, an object of id: name, or one
            that holds such an object as ``id2label``.

    Raises:
        InputError: The file cannot be read, or holds something else.
    """
    try:
        text = read_regular(path, most=_LARGEST).decode("utf-8-sig")
    except OSError as error:
        raise InputError(
            f"labels file {path} cannot be read",
            expected="names of labels, one a line, or JSON",
            got=error.strerror,
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"labels file {path} cannot be read", expected="UTF-8 text", got=error
        ) from error
    names = _parse_json(text, path) if text.lstrip().startswith(("[", "{")) else None
    if names is None:
        names = [line.strip() for line in text.rstrip().splitlines()]
    if not names or not all(names):
        raise InputError(
            f"labels file {path} has no name for a label",
            expected="a name on every line",
            got="an empty file" if not names else f"nothing on line {names.index('') + 1}",
        )
    return tuple(names)


def _parse_json(text: str, path: Path) -> list[str] | None:
    """Names of a file of JSON; ``None`` where it is none, since a name may begin with a bracket."""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(parsed, Mapping) and isinstance(parsed.get("id2label"), Mapping):
        parsed = parsed["id2label"]
    if isinstance(parsed, Mapping) and set(parsed) == {str(i) for i in range(len(parsed))}:
        parsed = [parsed[str(index)] for index in range(len(parsed))]
    if isinstance(parsed, list) and all(isinstance(name, str | int | float) for name in parsed):
        return [str(name) for name in parsed]
    raise InputError(
        f"labels file {path} is malformed",
        expected="a list of names, or an object of id: name with ids 0, 1, ...",
        got=type(parsed).__name__,
    )
