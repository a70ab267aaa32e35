"""The options of every command that reads records: names of columns and of labels."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from bert_export.cli.option_groups import add_options
from bert_export.errors import InputError

__all__ = ["DataOptions", "data_options"]

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class DataOptions:
    """The options of :func:`data_options` as typed."""

    fields: Sequence[str] = ()
    label_maps: Sequence[str] = ()

    def columns(self) -> dict[str, str]:
        """By field, the column that holds it.

        Raises:
            InputError: One is no ``FIELD=COLUMN``, or names a field a second time.
        """
        columns: dict[str, str] = {}
        for text in self.fields:
            name, found, column = text.partition("=")
            if not found or not name or not column:
                raise InputError(
                    f"field {text!r} is malformed",
                    expected="FIELD=COLUMN, such as text=sentence",
                    got=repr(text),
                )
            if name in columns:
                raise InputError(
                    f"field {name} is given twice",
                    expected="one column",
                    got=f"{columns[name]} and {column}",
                )
            columns[name] = column
        return columns

    def label_map(self) -> dict[str, str]:
        """The bundle's label by the data's.

        Raises:
            InputError: One is malformed.
            DatasetError: A file cannot be read.
        """
        from bert_export.datasets.label_map import join_label_maps

        return join_label_maps(self.label_maps)


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
            own = DataOptions(
                fields=options.pop("fields"), label_maps=options.pop("label_maps", ())
            )
            return command(*arguments, data_options=own, **options)

        return add_options(wrapped, (field, label_map) if labels else (field,))  # type: ignore[return-value]

    return decorate
