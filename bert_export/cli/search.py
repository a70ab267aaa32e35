"""The path of a search for an accuracy budget, as a table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from rich.console import Console
from rich.table import Table

from bert_export.bundle import SearchRecord
from bert_export.cli.console import stderr, stdout
from bert_export.cli.tables import print_table
from bert_export.errors import BudgetError

__all__ = ["broken_budget_shown", "print_search"]

_SHOWN = 8


def print_search(search: SearchRecord, console: Console = stdout) -> None:
    """Configurations that were measured, groups that disturb the outputs most, layers in float."""
    print_table(_path(search), console)
    print_table(_places(search), console)
    layers = ", ".join(search.excluded_layers) or "none"
    console.print(f"layers in float: {layers}", soft_wrap=False)


@contextmanager
def broken_budget_shown(*, quiet: bool) -> Iterator[None]:
    """Print the path of a budget that could not be kept, in front of its error."""
    try:
        yield
    except BudgetError as error:
        if not quiet:
            print_search(cast("SearchRecord", error.search), stderr)
        raise


def _path(search: SearchRecord) -> Table:
    verdict = "kept" if search.met else "NOT kept"
    table = Table(
        title=f"accuracy budget of {100 * search.budget:g} points {verdict}: {search.metric} on "
        f"{search.examples:,} examples of {search.data}, in float {search.baseline:.4f}",
        title_justify="left",
        show_edge=False,
    )
    for name in ("layers in float", "work in float", search.metric, "drop, points", "std. error"):
        table.add_column(name, justify="right")
    table.add_column("")
    for index, configuration in enumerate(search.path):
        layers = sum(len(search.groups[group].layers) for group in configuration.excluded)
        table.add_row(
            str(layers),
            f"{100 * configuration.float_share:.1f} %",
            f"{configuration.score:.4f}",
            f"{100 * configuration.drop:.2f}",
            "" if configuration.drop_error is None else f"{100 * configuration.drop_error:.2f}",
            "chosen" if index == search.chosen else "",
            style="bold" if index == search.chosen else "",
        )
    return table


def _places(search: SearchRecord) -> Table:
    table = Table(
        title="\nwhat INT8 disturbs most, each group alone",
        title_justify="left",
        show_edge=False,
    )
    table.add_column("layers", overflow="fold")
    table.add_column("error of the outputs", justify="right")
    table.add_column("work", justify="right")
    table.add_column("now")
    excluded = set(search.path[search.chosen].excluded)
    ranked = sorted(range(len(search.groups)), key=lambda i: -search.groups[i].sensitivity)
    for index in ranked[:_SHOWN]:
        group = search.groups[index]
        table.add_row(
            ", ".join(layer.removeprefix("bert.") for layer in group.layers),
            f"{100 * group.sensitivity:.3g} %",
            f"{100 * group.cost:.1f} %",
            "float" if index in excluded else "int8",
        )
    return table
