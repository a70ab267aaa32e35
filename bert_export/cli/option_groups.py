"""What every command is: options under headings, and near misses named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

import click

from bert_export.cli.console import UsageProblem
from bert_export.errors import InputError, suggestion

__all__ = ["Command", "add_options", "option_group"]

_OTHER = "Other"


class _GroupedOption(click.Option):
    title: ClassVar[str]


class Command(click.Command):
    """A command whose help lists its options group by group, in the order of their declaration.

    Of several options that set one thing, one is typed; of an option that is typed twice, as a
    command behind an alias of the shell may have it, the last counts. ``-h`` asks for the help of a
    command that is run by itself too.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.context_settings.setdefault("help_option_names", ["-h", "--help"])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if ctx.resilient_parsing:  # a shell asks what could follow
            return super().parse_args(ctx, args)
        try:
            _, _, order = self.make_parser(ctx).parse_args(list(args))
        except click.NoSuchOption as error:
            raise _unknown_option(ctx, error) from None
        _refuse_rivals(order)
        return super().parse_args(ctx, args)

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


def _refuse_rivals(order: list[click.Parameter]) -> None:
    """Refuse several options that set one thing, such as ``--int8`` and ``--fp32``."""
    rivals: dict[str | None, dict[str, None]] = {}
    for parameter in order:
        if isinstance(parameter, click.Option):
            option = max(parameter.opts, key=len)
            rivals.setdefault(parameter.name, {})[option] = None
    for options in rivals.values():
        if len(options) > 1:
            raise UsageProblem(
                InputError(
                    f"options {' and '.join(options)} exclude each other", expected="one of them"
                )
            )


def _unknown_option(ctx: click.Context, error: click.NoSuchOption) -> UsageProblem:
    contexts = [ctx] if ctx.parent is None else [ctx, ctx.parent]
    known = [
        option
        for context in contexts
        for parameter in context.command.get_params(context)
        for option in (*parameter.opts, *parameter.secondary_opts)
        if option.startswith("--")
    ]
    return UsageProblem(
        InputError(
            f"option {error.option_name} is unknown to {ctx.command_path}",
            fix=suggestion(error.option_name, known) or f"Run: {ctx.command_path} --help",
        )
    )


def option_group(title: str) -> Callable[..., Callable[[Callable[..., Any]], Callable[..., Any]]]:
    """``click.option`` for options that stand under a heading.

    Args:
        title: The heading, in a :class:`Command`.
    """
    return partial(click.option, cls=type("GroupedOption", (_GroupedOption,), {"title": title}))


def add_options(
    command: Callable[..., Any], options: Sequence[Callable[..., Any]]
) -> Callable[..., Any]:
    """A command with these options, in their order, before those that it has."""
    for option in reversed(options):
        command = option(command)
    return command
