"""The help of commands with many options: under headings, the common ones first."""

from __future__ import annotations

import re

import click
import pytest
from click.testing import CliRunner

from bert_export.cli import main
from bert_export.cli.option_groups import Command, option_group


def headings(*command: str) -> list[str]:
    done = CliRunner().invoke(main, [*command, "--help"])
    assert done.exit_code == 0, done.output
    return re.findall(r"^(\S.*):$", done.output, flags=re.MULTILINE)


def test_an_exports_options_by_what_they_are_about() -> None:
    assert headings("export") == [
        "What goes in",
        "What comes out",
        "INT8",
        "Accuracy budget of INT8",
        "Data of --calibration and --eval",
        "What the checkpoint does not say",
        "Engines for NVIDIA GPUs",
        "Running and printing",
        "Other",
    ]


@pytest.mark.parametrize("command", ["export", "build"])
def test_every_option_but_help_stands_under_a_heading(command: str) -> None:
    text = CliRunner().invoke(main, [command, "--help"]).output
    other = text.partition("Other:\n")[2].partition("Demonstrations:")[0]
    assert other.split() == ["-h,", "--help", "Show", "this", "message", "and", "exit."]


def test_a_command_by_itself_has_the_same_help() -> None:
    @click.command(cls=Command)
    def command() -> None:
        """Do it."""

    assert CliRunner().invoke(command, ["-h"]).exit_code == 0


def test_groups_come_in_the_order_of_their_first_option() -> None:
    first, second = option_group("First"), option_group("Second")

    @click.command(cls=Command)
    @first("--one", help="Of the first.")
    @second("--two", help="Of the second.")
    @first("--three", help="Of the first too.")
    @click.option("--four", help="Of none.")
    @click.option("--five", hidden=True)
    def command(**_: str) -> None:
        """Do it."""

    text = CliRunner().invoke(command, ["--help"]).output
    found = re.findall(r"^(\S.*):$|^  (--\w+)", text, flags=re.MULTILINE)
    assert [heading or option for heading, option in found] == [
        *("First", "--one", "--three"),
        *("Second", "--two"),
        *("Other", "--four"),
    ]
