"""Options under headings: the help of a command with many options, the common ones first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import click

__all__ = ["GroupedCommand", "add_options", "option_group"]

_OTHER = "Other"


class _GroupedOption(click.Option):
    title: ClassVar[str]


class GroupedCommand(click.Command):
    """A command whose help lists its options group by group, in the order of their declaration."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        others: list[tuple[str, str]] = []
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None or not isinstance(parameter, click.Option):
                continue  # arguments stand in the line of usage
            if isinstance(parameter, _GroupedOption):
                groups.setdefault(parameter.title, []).append(record)
            else:
                others.append(record)
        for title, records in (*groups.items(), (_OTHER, others)):
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def option_group(title: str) -> Callable[..., Callable[[Callable[..., Any]], Callable[..., Any]]]:
    """``click.option`` for options that stand under a heading.

    Args:
        title: The heading, in a :class:`GroupedCommand`.
    """
    return partial(click.option, cls=type("GroupedOption", (_GroupedOption,), {"title": title}))


def add_options(
    command: Callable[..., Any], options: Sequence[Callable[..., Any]]
) -> Callable[..., Any]:
    """A command with these options, in their order, before those that it has."""
    for option in reversed(options):
        command = option(command)
    return command
