"""Tables that fit the terminal: cells wrap between words, and rows between cells.

A row whose words are too long for the columns is its first cell, and below it every other cell
behind its column's name::

    bert.encoder.layer.0.attention.self.query
      precision: int8  scale: 0.01482  zero point: 128
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping

from rich.console import Console
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

from bert_export.cli.console import stdout

__all__ = ["facts_table", "print_table", "table_of"]

_AROUND = 3  # a space on both sides of a cell, and the line behind it
_INDENT = "  "
_BETWEEN = "  "
_TIE = "\N{NO-BREAK SPACE}"


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
    table = Table(title=title or None, title_justify="left", show_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, value)
    return table


def print_table(table: Table, console: Console = stdout) -> None:
    """Print a table as wide as the console allows, without a cut word.

    Args:
        table: Its title and caption are wrapped as text above and below it.
        console: Where it is printed.
    """
    title, caption = table.title, table.caption
    table.title = table.caption = None
    if title is not None:
        console.print(_text(title), style="italic", soft_wrap=False)
    if _fit(table, console):
        console.print(table)
    else:
        for line in _by_cells(table, console.width):
            console.print(line)
    if caption is not None:
        console.print(_text(caption), style="italic", soft_wrap=False)


def _fit(table: Table, console: Console) -> bool:
    """Give the columns widths at which no word is cut; whether there is room for that."""
    needs = [_needs(console, column) for column in table.columns]
    room = console.width - len(needs) * _AROUND
    if room < sum(need.minimum for need in needs):
        return False
    widths = [need.minimum for need in needs]
    # What is left over goes to the columns that are furthest from a line per cell.
    for _ in range(room - sum(widths)):
        lacks = [need.maximum - width for need, width in zip(needs, widths, strict=True)]
        if max(lacks) <= 0:
            break
        widths[lacks.index(max(lacks))] += 1
    for column, width in zip(table.columns, widths, strict=True):
        column.width = width
    return True


def _needs(console: Console, column: Column) -> Measurement:
    """The longest word and the longest line of a column; both are the line where none may wrap."""
    cells = [str(cell) for cell in (column.header, *column.cells)]
    measures = [Measurement.get(console, console.options, Text(cell)) for cell in cells]
    longest = max(measure.maximum for measure in measures)
    word = longest if column.no_wrap else max(measure.minimum for measure in measures)
    return Measurement(word, longest)


def _text(value: object) -> Text:
    return value if isinstance(value, Text) else Text(str(value))


def _by_cells(table: Table, width: int) -> Iterator[Text]:
    columns = [(str(column.header), list(column.cells)) for column in table.columns]
    for index, row in enumerate(table.rows):
        (name, first), *others = [(header, str(cells[index])) for header, cells in columns]
        style = str(row.style or "")
        for line in textwrap.wrap(first or name, width, break_on_hyphens=False):
            yield Text(line, style=f"bold {style}".strip())
        cells = [f"{header}: {cell}" if header else cell for header, cell in others if cell]
        yield from (Text(line, style=style) for line in _wrapped(cells, width))


def _wrapped(cells: Iterable[str], width: int) -> list[str]:
    """Lines that break between cells; within a cell only where it is longer than a line."""
    room = width - len(_INDENT)
    tied = [cell.replace(" ", _TIE) if len(cell) <= room else cell for cell in cells]
    lines = textwrap.wrap(
        _BETWEEN.join(tied),
        width,
        initial_indent=_INDENT,
        subsequent_indent=_INDENT,
        break_on_hyphens=False,
        drop_whitespace=True,
    )
    return [line.replace(_TIE, " ") for line in lines]
