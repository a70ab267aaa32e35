"""A benchmark's outcome: printed for a reader, as JSON for a program, as tables for the page."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from bert_export.measuring.ratios import Ratio
from scripts.benchmarks.common.bounds import Bound, Verdict

__all__ = ["Cell", "Report", "Section", "cell_text", "show"]

Cell = str | float | Ratio | None

_WIDTH = 160  # of a table that is written to a file or a pipe
_STYLES: Mapping[Verdict, str] = {
    "PASS": "green",
    "MISS": "bold red",
    "OPEN": "yellow",
    "UNMEASURED": "yellow",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One table.

    Args:
        part: Which part of the benchmark it shows, such as ``minilm-encoder``: its place on the
            page of numbers. ``None`` where it is not for the page, as a table of some contenders.
        title: Above it.
        header: Names of the columns.
        rows: Cells; see :func:`cell_text`.
        notes: Sentences below it.
    """

    part: str | None
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that a benchmark says.

    Args:
        benchmark: The script's name, such as ``targets``.
        machine: See :func:`bert_export.measuring.machine.describe_machine`.
        versions: Of the packages that took part.
        settings: What the run was asked to do.
        sections: Its tables.
        figures: Every contender's figures, for the JSON.
        bounds: What must hold.
        notes: Sentences below the tables.
    """

    benchmark: str
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    settings: Mapping[str, Any]
    sections: Sequence[Section]
    figures: Mapping[str, Any]
    bounds: Sequence[Bound] = ()
    notes: Sequence[str] = field(default=())

    @property
    def missed(self) -> bool:
        """Whether a figure is out of its bound."""
        return any(bound.verdict == "MISS" for bound in self.bounds)

    def as_json(self) -> dict[str, Any]:
        """All of it but the printed tables."""
        return {
            "benchmark": self.benchmark,
            "machine": dict(self.machine),
            "versions": dict(self.versions),
            "settings": dict(self.settings),
            "figures": msgspec.to_builtins(self.figures),
            "bounds": [bound.as_json() for bound in self.bounds],
            "notes": list(self.notes),
        }

    def print(self, console: Console) -> None:
        """Print machine, tables, verdicts and notes."""
        console.print(f"{self.benchmark}", style="bold", highlight=False)
        for facts in (self.machine, self.versions, self.settings):
            console.print(_one_line(facts), markup=False, highlight=False, soft_wrap=True)
        for section in self.sections:
            console.print(section.title, style="italic", markup=False, highlight=False)
            console.print(_table(section))
            for note in section.notes:
                console.print(note, markup=False, highlight=False, soft_wrap=True)
        if self.bounds:
            console.print("bounds", style="italic")
            console.print(_verdicts(self.bounds))
        for note in self.notes:
            console.print(note, markup=False, highlight=False, soft_wrap=True)


def show(report: Report, destination: str | None) -> None:
    """Print a report, and write its JSON where that is asked for.

    Args:
        report: The outcome.
        destination: A file; ``-`` is standard output, and the tables go to standard error then.
    """
    stream = sys.stderr if destination == "-" else sys.stdout
    width = None if stream.isatty() else _WIDTH
    report.print(Console(file=stream, width=width))
    if destination is None:
        return
    text = json.dumps(report.as_json(), indent=2, ensure_ascii=False) + "\n"
    if destination == "-":
        sys.stdout.write(text)
    else:
        Path(destination).write_text(text, encoding="utf-8")


def cell_text(cell: Cell) -> str:
    """A cell as it is read: four digits of a number, a ratio with its interval, a dash for none."""
    if cell is None:
        return "-"
    if isinstance(cell, Ratio | str):
        return str(cell)
    return f"{cell:,.0f}" if abs(cell) >= 1000 else f"{cell:.4g}"


def _one_line(facts: Mapping[str, Any]) -> str:
    parts = []
    for name, value in facts.items():
        text = " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        parts.append(f"{name} {text}")
    return " · ".join(parts)


def _table(section: Section) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for index, name in enumerate(section.header):
        numeric = any(not isinstance(row[index], str | None) for row in section.rows)
        table.add_column(name, justify="right" if numeric else "left")
    for row in section.rows:
        table.add_row(*map(cell_text, row))
    return table


def _verdicts(bounds: Sequence[Bound]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("what")
    table.add_column("measured", justify="right")
    table.add_column("bound", justify="right")
    table.add_column("")
    for bound in bounds:
        verdict = bound.verdict
        table.add_row(
            bound.what,
            "-" if bound.value is None else f"{cell_text(bound.value)} {bound.unit}",
            f"{bound.side} {bound.limit:g} {bound.unit}",
            f"[{_STYLES[verdict]}]{verdict}[/]",
        )
    return table
