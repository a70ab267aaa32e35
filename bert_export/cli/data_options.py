"""The options of every command that reads records: names of columns and of labels."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from bert_export.cli.console import usage_errors
from bert_export.cli.option_groups import add_options
from bert_export.errors import InputError, plain, shown

__all__ = ["DataOptions", "data_options", "read_data_options"]

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class DataOptions:
    """What the options of :func:`data_options` say.

    Args:
        columns: By field, the column that holds it.
        label_map: The bundle's label by the data's.
    """

    columns: dict[str, str]
    label_map: dict[str, str]


def read_data_options(fields: Sequence[str], label_maps: Sequence[str]) -> DataOptions:
    """What was typed.

    Args:
        fields: ``FIELD=COLUMN``, each.
        label_maps: ``OLD=NEW`` or the name of a file, each.

    Raises:
        InputError: One is malformed, or names a field a second time.
        DatasetError: A file cannot be read.
    """
    columns: dict[str, str] = {}
    for text in fields:
        name, _, column = text.partition("=")
        if not name or not column:
            raise InputError(
                f"field {shown(text)} is malformed",
                expected="FIELD=COLUMN, such as text=sentence",
                got=shown(text),
            )
        if name in columns:
            raise InputError(
                f"field {plain(name)} is given twice",
                expected="one column",
                got=f"{plain(columns[name])} and {plain(column)}",
            )
        columns[name] = column
    return DataOptions(columns=columns, label_map=_label_map(label_maps))


def _label_map(texts: Sequence[str]) -> dict[str, str]:
    if not texts:
        return {}
    from bert_export.datasets.label_map import join_label_maps

    return join_label_maps(texts)


def data_options(
    option: Callable[..., Callable[[Callable[..., Any]], Callable[..., Any]]] = click.option,
    *,
    labels: bool = True,
) -> Callable[[Command], Command]:
    """Give a command these options, which reach it as one value, ``data_options``.

    Args:
        option: Makes the options, such as those of a group in the help.
        labels: Whether labels are scored, so that they may be mapped.
    """
    field = option(
        "--field",
        "fields",
        metavar="FIELD=COLUMN",
        multiple=True,
        help="A field's column where it has another name, such as text=sentence; may be repeated.",
    )
    label_map = option(
        "--label-map",
        "label_maps",
        metavar="OLD=NEW|FILE",
        multiple=True,
        help="What a label of the data is called in the bundle; or a file: JSON, or OLD=NEW a "
        "line. May be repeated.",
    )

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def wrapped(*arguments: Any, **options: Any) -> Any:
            with usage_errors():
                own = read_data_options(options.pop("fields"), options.pop("label_maps", ()))
            return command(*arguments, data_options=own, **options)

        return add_options(wrapped, (field, label_map) if labels else (field,))  # type: ignore[return-value]

    return decorate
