"""Tables that fit the terminal: cells wrap between words, and a word that is too long folds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.table import Table

__all__ = ["facts_table", "table_of"]


def table_of(title: str, *columns: str, figures: Iterable[str] = ()) -> Table:
    """An empty table.

    Args:
        title: Above it, at the left; none where it is empty.
        columns: Their names.
        figures: Those that hold numbers and stand at the right.
    """
    table = Table(title=title or None, title_justify="left", show_edge=False)
    right = set(figures)
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column in right else "left")
    return table


def facts_table(title: str, facts: Mapping[str, str]) -> Table:
    """Names beside what is said of them."""
    table = Table(title=title, title_justify="left", show_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, value)
    return table
