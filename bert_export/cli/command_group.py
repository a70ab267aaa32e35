"""The group of all commands: each is imported when it is called, and one needs no name."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import click

from bert_export.cli.console import FAILED, INTERRUPTED, MISUSED, UsageProblem, fail, stderr
from bert_export.errors import InputError, one_of, shown

__all__ = ["CommandGroup"]

_READER_HAS_ENOUGH = 141  # what the shell reports of a program that SIGPIPE ended


class CommandGroup(click.Group):
    """Commands that are imported on use; options without a command are those of the default.

    Args:
        homes: ``module:name`` of each command, in the order of the help.
        default: The command that is meant where options come first.
        settings: Of :class:`click.Group`.
    """

    def __init__(self, *, homes: Mapping[str, str], default: str, **settings: Any) -> None:
        super().__init__(**settings)
        self._homes = homes
        self._default = default

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._homes)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._homes:
            return None
        module, name = self._homes[cmd_name].split(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The group's; where a shell asks what could follow, those of the default too."""
        own = super().get_params(ctx)
        default = self.get_command(ctx, self._default) if ctx.resilient_parsing else None
        if default is None:
            return own
        known = {option for parameter in own for option in parameter.opts}
        others = default.get_params(ctx)
        return [*own, *(one for one in others if not known.intersection(one.opts))]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = [option for parameter in super().get_params(ctx) for option in parameter.opts]
        if args and args[0].startswith("-") and args[0] not in own:
            args = [self._default, *args]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, *others = args
        if name not in self._homes and not ctx.resilient_parsing:
            raise UsageProblem(
                InputError(f"command {shown(name)} is unknown", **one_of(name, self._homes))
            )
        return name, self.get_command(ctx, name), others

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT001, FBT002  as click declares it
        windows_expand_args: bool = True,  # noqa: FBT001, FBT002
        **extra: Any,
    ) -> Any:
        """Run, and leave with the exit code that the help names; errors are one line."""
        if not standalone_mode:
            return super().main(
                args,
                prog_name,
                complete_var,
                standalone_mode=False,
                windows_expand_args=windows_expand_args,
                **extra,
            )
        try:
            # Not standalone: click then raises what it would print over several lines.
            status = super().main(
                args,
                prog_name,
                complete_var,
                standalone_mode=False,
                windows_expand_args=windows_expand_args,
                **extra,
            )
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(MISUSED)
        except UsageProblem as error:
            fail(error.message, error.exit_code)
        except click.UsageError as error:
            hint = "" if error.ctx is None else f" Run: {error.ctx.command_path} --help."
            text = error.format_message().strip()
            fail(f"{text[:1].lower()}{text[1:].rstrip('.')}.{hint}", MISUSED)
        except click.ClickException as error:
            fail(error.format_message(), FAILED)
        except (click.Abort, KeyboardInterrupt):
            stderr.print("interrupted", style="red")
            sys.exit(INTERRUPTED)
        sys.exit(status if isinstance(status, int) else 0)
